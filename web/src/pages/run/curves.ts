/** Metrics of a run as charts: which lines belong together, and how new points join the old ones. */
import type { Schemas } from "../../api/client";

export type Line = Schemas["Line"];

export interface Chart {
  /** The metric, e.g. `loss`; the key of its definition. */
  metric: string;
  /** One line for each dictionary, named by it; a metric of the whole run has one line of its own name. */
  lines: Line[];
}

/** `resid_post-14-4608-topk-32/loss` is the metric `loss` of a dictionary. */
export function splitName(name: string): { owner: string; metric: string } {
  const cut = name.lastIndexOf("/");
  return { owner: name.slice(0, Math.max(0, cut)), metric: name.slice(cut + 1) };
}

/** The dictionaries (or other owners) that metrics are about, in order. */
export function ownersOf(names: readonly string[]): string[] {
  return [...new Set(names.map((name) => splitName(name).owner))].filter((owner) => owner !== "");
}

const FIRST = ["loss", "explained_variance_centred", "n_dead", "l0", "mse", "lr"];
const rank = (metric: string) => {
  const at = FIRST.indexOf(metric);
  return at < 0 ? FIRST.length : at;
};

/** Charts in the order in which a reader wants them; of the given owners only. */
export function chartsOf(lines: readonly Line[], owners: ReadonlySet<string>): Chart[] {
  const short = shortNames([...owners]);
  const charts = new Map<string, Line[]>();
  for (const line of lines) {
    const { owner, metric } = splitName(line.name);
    if (owner !== "" && !owners.has(owner)) continue;
    const named = { ...line, name: short.get(owner) || metric };
    charts.set(metric, [...(charts.get(metric) ?? []), named]);
  }
  return [...charts]
    .map(([metric, members]) => ({ metric, lines: members }))
    .toSorted((a, b) => rank(a.metric) - rank(b.metric) || a.metric.localeCompare(b.metric));
}

/** Differences below this are rounding, e.g. of a mean over tokens. */
const ALIKE = 1e-3;

/** Whether a chart says nothing but one number, e.g. an L0 that TopK holds at k. */
export function constant({ lines }: Chart): number | null {
  let least = Infinity;
  let largest = -Infinity;
  for (const { y } of lines)
    for (const value of y) {
      if (value === null) continue;
      if (value < least) least = value;
      if (value > largest) largest = value;
    }
  if (least > largest) return null;
  const size = Math.max(Math.abs(least), Math.abs(largest));
  return largest - least <= ALIKE * size ? largest : null;
}

/** Names without the words at their end that all of them share, e.g. `-4608-topk-32`. */
export function shortNames(owners: readonly string[]): Map<string, string> {
  const words = owners.map((owner) => owner.split("-"));
  const shortest = Math.min(...words.map(({ length }) => length));
  let shared = 0;
  while (
    owners.length > 1 &&
    shared < shortest - 1 &&
    words.every((own) => own.at(-1 - shared) === words[0]?.at(-1 - shared))
  )
    shared += 1;
  return new Map(
    owners.map((owner, i) => [owner, words[i]?.slice(0, -shared || undefined).join("-") ?? owner]),
  );
}

/** Points behind those that are there; what is there already does not come twice. */
export function joined(old: readonly Line[], fresh: readonly Line[]): Line[] {
  const added = new Map(fresh.map((line) => [line.name, line]));
  const grown = old.map((line) => {
    const more = added.get(line.name);
    added.delete(line.name);
    if (!more) return line;
    const last = line.x.at(-1) ?? -Infinity;
    const from = more.x.findIndex((x) => x > last);
    if (from < 0) return line;
    return {
      name: line.name,
      x: [...line.x, ...more.x.slice(from)],
      y: [...line.y, ...more.y.slice(from)],
    };
  });
  return [...grown, ...added.values()];
}

/** How many points there are in all; past a limit the page asks for thinned curves again. */
export const pointsIn = (lines: readonly Line[]) => lines.reduce((n, { x }) => n + x.length, 0);
