import { useQuery } from "@tanstack/react-query";
import { client, data, type Schemas } from "../../api/client";
import { date } from "../../ui/format";
import { Empty, Failed } from "../../ui/states";
import type { Draft, Verb } from "./recipe";

interface Props {
  draft: Draft;
  recipes: string[];
  onRun: (run: string) => void;
  onChange: (changes: Partial<Draft>) => void;
}

/** What the job works on: a shipped recipe, or a run and some of its dictionaries. */
export function TargetFields({ draft, recipes, onRun, onChange }: Props) {
  if (draft.verb === "train")
    return (
      <label className="field">
        <span>Recipe</span>
        <select value={draft.recipe} onChange={(event) => onChange({ recipe: event.target.value })}>
          <option value="">choose …</option>
          {recipes.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
    );
  return <RunFields draft={draft} onRun={onRun} onChange={onChange} />;
}

/** Explaining needs an atlas; all else dictionaries. */
const fits = (verb: Verb, run: Schemas["RunLine"]) =>
  verb === "explain"
    ? run.job === "atlas" || run.job === "demo"
    : run.n_dictionaries > 0 && (run.job === "train" || run.job === "demo");

function RunFields({ draft, onRun, onChange }: Omit<Props, "recipes">) {
  const home = useQuery({ queryKey: ["home"], queryFn: () => data(client.GET("/api/home")) });
  const chosen = useQuery({
    queryKey: ["runs", draft.run],
    queryFn: () =>
      data<Schemas["RunPage"]>(
        client.GET("/api/runs/{run}", { params: { path: { run: draft.run } } }),
      ),
    enabled: draft.run !== "",
  });
  if (home.error) return <Failed error={home.error} retry={() => void home.refetch()} />;
  const runs = (home.data?.runs ?? []).filter(
    (run) => run.id === draft.run || fits(draft.verb, run),
  );
  const dictionaries = chosen.data?.dictionaries ?? [];
  const toggle = (name: string) =>
    onChange({
      only: draft.only.includes(name)
        ? draft.only.filter((one) => one !== name)
        : [...draft.only, name],
    });
  return (
    <>
      <label className="field">
        <span>Run</span>
        <select value={draft.run} onChange={(event) => onRun(event.target.value)}>
          <option value="">choose …</option>
          {runs.map((run) => (
            <option key={run.id} value={run.id}>
              {run.name} · {date(run.created)} · {run.status} · {run.n_dictionaries}{" "}
              {run.n_dictionaries === 1 ? "dictionary" : "dictionaries"}
            </option>
          ))}
        </select>
      </label>
      {home.data && runs.length === 0 && (
        <Empty>
          {draft.verb === "explain"
            ? "No run has built an atlas yet: build one first."
            : "No run has trained a dictionary yet: train one first."}
        </Empty>
      )}
      {dictionaries.length > 1 && draft.verb !== "geometry" && (
        <fieldset className="only">
          <legend>Dictionaries (none chosen: all of them)</legend>
          {dictionaries.map(({ id, name }) => (
            <label key={id} className="mono">
              <input
                type="checkbox"
                checked={draft.only.includes(name)}
                onChange={() => toggle(name)}
              />{" "}
              {name}
            </label>
          ))}
        </fieldset>
      )}
    </>
  );
}
