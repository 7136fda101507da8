import { useEffect, useRef, useState } from "react";
import { FLAGS, filtersIn, type ListQuery, TEXTS } from "./listQuery";

interface Props {
  list: ListQuery;
  onChange: (changes: Partial<ListQuery>) => void;
}

type Text = (typeof TEXTS)[number];

const FIELDS: Record<Text, { title: string; info: string; hint: string; numeric?: boolean }> = {
  label: { title: "Label", info: "Words of the label.", hint: "words" },
  token: { title: "Token", info: "It fires on this token.", hint: "text of a token" },
  near: {
    title: "Near latent",
    info: "Ranked by the cosine of decoder rows with this latent's.",
    hint: "number",
    numeric: true,
  },
  tag: { title: "Tag", info: "A tag that somebody gave it.", hint: "tag" },
  min: {
    title: "Fires on at least",
    info: "Share of tokens in percent.",
    hint: "%",
    numeric: true,
  },
  max: { title: "at most", info: "Share of tokens in percent.", hint: "%", numeric: true },
};

const CHOICES: Record<(typeof FLAGS)[number], { title: string; yes: string; no: string }> = {
  known: { title: "Labels", yes: "known", no: "not known" },
  dead: { title: "Dead", yes: "dead only", no: "without dead" },
  dense: { title: "Dense", yes: "dense only", no: "without dense" },
  starred: { title: "Stars", yes: "starred", no: "not starred" },
};

const PAUSE_MS = 250;
const NONE: Partial<ListQuery> = Object.fromEntries([...TEXTS, ...FLAGS].map((name) => [name, ""]));

/** Which features are listed. */
export function FeatureFilters({ list, onChange }: Props) {
  return (
    <form
      className="feature-filters"
      role="search"
      aria-label="Filter the features"
      onSubmit={(event) => event.preventDefault()}
    >
      {TEXTS.map((name) => (
        <TextFilter
          key={name}
          name={name}
          value={list[name]}
          onChange={(value) => onChange({ [name]: value })}
        />
      ))}
      {FLAGS.map((name) => (
        <label key={name} className={`filter filter-${name}`}>
          <span>{CHOICES[name].title}</span>
          <select value={list[name]} onChange={(event) => onChange({ [name]: event.target.value })}>
            <option value="">any</option>
            <option value="true">{CHOICES[name].yes}</option>
            <option value="false">{CHOICES[name].no}</option>
          </select>
        </label>
      ))}
      <button
        type="button"
        className="filter-clear"
        disabled={filtersIn(list) === 0}
        onClick={() => onChange(NONE)}
      >
        Clear
      </button>
    </form>
  );
}

interface FilterProps {
  name: Text;
  value: string;
  onChange: (value: string) => void;
}

/** Waits until typing pauses, so that not every letter asks the server. */
function TextFilter({ name, value, onChange }: FilterProps) {
  const { title, info, hint, numeric } = FIELDS[name];
  const [typed, setTyped] = useState<{ text: string; over: string } | null>(null);
  const latest = useRef(onChange);
  useEffect(() => {
    latest.current = onChange;
  });
  // What was typed is over as soon as the address changes: it has arrived, or something else has.
  if (typed && typed.over !== value) setTyped(null);
  const shown = typed?.over === value ? typed.text : value;
  const waits = shown !== value;
  useEffect(() => {
    if (!waits) return;
    const timer = setTimeout(() => latest.current(shown), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [waits, shown]);
  return (
    <label className={`filter filter-${name}`} title={info}>
      <span>{title}</span>
      <input
        type={numeric ? "text" : "search"}
        inputMode={numeric ? "decimal" : "text"}
        placeholder={hint}
        value={shown}
        onChange={(event) => setTyped({ text: event.target.value, over: value })}
      />
    </label>
  );
}
