import { useState } from "react";
import { number, rounded, share as percent } from "../../ui/format";
import { Failed } from "../../ui/states";
import { WorkerNote } from "../feature/WorkerNote";
import { tokenText } from "./columns";
import { PairList, PairMap } from "./PairMap";
import type { ScorePanel } from "./pairs";
import { type At, type GraphPage, useScores } from "./useGraph";

interface Props {
  at: At;
  page: GraphPage;
  /** Where queries begin: the focused node's position, or the target's. */
  position: number;
  barred: string | null;
  onFocus: (id: string) => void;
}

type Against = number | "mean" | null;

/** Why a head attends: its score as a sum over what writes at the query times what writes at the key. */
export function ScoreTab({ at, page, position, barred, onFocus }: Props) {
  const { tokens, n_layers: nLayers } = page.meta;
  const [layer, setLayer] = useState(Math.min(nLayers - 1, Math.floor(nLayers / 2)));
  const [head, setHead] = useState(0);
  const [query, setQuery] = useState(position);
  const [key, setKey] = useState(Math.max(0, position - 1));
  const [against, setAgainst] = useState<Against>(null);
  const scores = useScores(at);
  const nHeads = scores.data?.n_heads ?? 128;
  const ask = (change: { key?: number; against?: Against; query?: number } = {}) => {
    const next = { query, key, against, ...change };
    // Nothing attends to what comes after it.
    next.key = Math.min(next.key, next.query);
    if (
      typeof next.against === "number" &&
      (next.against > next.query || next.against === next.key)
    )
      next.against = null;
    setQuery(next.query);
    setKey(next.key);
    setAgainst(next.against);
    scores.mutate({ layer, head, ...next });
  };
  if (barred !== null && !scores.data) return <p className="muted">{barred}</p>;
  const panel = scores.data;
  const name = (place: number) => `${place}: ${tokenText(tokens[place]?.text)}`;
  const options = (most: number) =>
    tokens.slice(0, most + 1).map((_, place) => (
      <option key={place} value={place}>
        {name(place)}
      </option>
    ));
  return (
    <div className="stack score-tab">
      <form
        className="score-form"
        onSubmit={(event) => {
          event.preventDefault();
          ask();
        }}
      >
        <label>
          Layer
          <input
            type="number"
            min={0}
            max={nLayers - 1}
            value={layer}
            onChange={(event) => setLayer(Number(event.target.value))}
          />
        </label>
        <label>
          Head
          <input
            type="number"
            min={0}
            max={nHeads - 1}
            value={head}
            onChange={(event) => setHead(Number(event.target.value))}
          />
        </label>
        <label>
          From
          <select value={query} onChange={(event) => setQuery(Number(event.target.value))}>
            {options(tokens.length - 1)}
          </select>
        </label>
        <label>
          to
          <select
            value={Math.min(key, query)}
            onChange={(event) => setKey(Number(event.target.value))}
          >
            {options(query)}
          </select>
        </label>
        <label title="The pairs are then of the difference: why this key rather than that.">
          rather than
          <select
            value={against ?? ""}
            onChange={(event) => {
              const chosen = event.target.value;
              setAgainst(chosen === "" ? null : chosen === "mean" ? "mean" : Number(chosen));
            }}
          >
            <option value="">nothing: the score itself</option>
            <option value="mean">the mean over all keys</option>
            {tokens.slice(0, query + 1).map(
              (_, place) =>
                place !== key && (
                  <option key={place} value={place}>
                    {name(place)}
                  </option>
                ),
            )}
          </select>
        </label>
        <button type="submit" className="primary" disabled={scores.isPending}>
          Take apart
        </button>
      </form>
      {scores.isPending && <WorkerNote />}
      {scores.isError && <Failed error={scores.error} />}
      {!panel && !scores.isPending && !scores.isError && (
        <p className="muted">
          Choose a head and two positions. The score is shown as a sum over pairs of what writes at
          both ends; chosen against another key, as the difference that decides between them.
        </p>
      )}
      {panel && (
        <>
          <ScoreHead panel={panel} name={name} />
          <KeyPicker
            panel={panel}
            name={name}
            onKey={(place) => ask({ key: place })}
            onAgainst={(place) => ask({ against: place === panel.against ? null : place })}
          />
          <div className="pair-split">
            <PairMap panel={panel} tokens={tokens} onFocus={onFocus} />
            <PairList panel={panel} tokens={tokens} onFocus={onFocus} />
          </div>
        </>
      )}
    </div>
  );
}

function ScoreHead({ panel, name }: { panel: ScorePanel; name: (place: number) => string }) {
  return (
    <p className="score-head">
      Head {panel.layer}.{panel.head}, from <bdi className="mono">{name(panel.query)}</bdi> to{" "}
      <bdi className="mono">{name(panel.key)}</bdi>
      {panel.against !== null && (
        <>
          {" "}
          rather than{" "}
          <bdi className="mono">
            {panel.against === "mean" ? "the mean" : name(Number(panel.against))}
          </bdi>
        </>
      )}
      : <strong className="number">{number(panel.value, 4)}</strong>
      {panel.log_ratio !== null && (
        <span className="muted">
          {" "}
          · attention ratio{" "}
          {panel.log_ratio < 7 && panel.log_ratio > -7
            ? `${rounded(Math.exp(panel.log_ratio))} to 1`
            : `e^${rounded(panel.log_ratio)}`}
        </span>
      )}
      <span className="muted"> · all pairs sum to it, residual {number(panel.residual, 2)}</span>
    </p>
  );
}

/** The head's attention over all keys: a bar chooses the key, the sign below it what it is held against. */
function KeyPicker({
  panel,
  name,
  onKey,
  onAgainst,
}: {
  panel: ScorePanel;
  name: (place: number) => string;
  onKey: (place: number) => void;
  onAgainst: (place: number) => void;
}) {
  const most = Math.max(...panel.attention, 1e-9);
  return (
    <div className="key-picker" role="group" aria-label="Attention over the keys">
      {panel.attention.map((attention, place) => (
        <div
          key={place}
          className={
            place === panel.key ? "key chosen" : place === panel.against ? "key against" : "key"
          }
        >
          <button
            type="button"
            className="plain"
            aria-pressed={place === panel.key}
            title={`${name(place)}: attention ${percent(attention)}, score ${number(panel.scores[place])}`}
            onClick={() => onKey(place)}
          >
            <span className="key-bar">
              <i style={{ height: `${(100 * attention) / most}%` }} />
            </span>
            <bdi className="mono">{name(place).replace(/^\d+: /, "")}</bdi>
            <span className="muted number">{percent(attention)}</span>
          </button>
          {place !== panel.key && (
            <button
              type="button"
              className="plain contrast"
              aria-pressed={place === panel.against}
              title="Hold the key against this one"
              onClick={() => onAgainst(place)}
            >
              vs
            </button>
          )}
        </div>
      ))}
    </div>
  );
}
