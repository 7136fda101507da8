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
  const charts = new Map<string, Line[]>();
  for (const line of lines) {
    const { owner, metric } = splitName(line.name);
    if (owner !== "" && !owners.has(owner)) continue;
    const named = { ...line, name: owner || metric };
    charts.set(metric, [...(charts.get(metric) ?? []), named]);
  }
  return [...charts]
    .map(([metric, members]) => ({ metric, lines: members }))
    .toSorted((a, b) => rank(a.metric) - rank(b.metric) || a.metric.localeCompare(b.metric));
}

/** Whether a chart says nothing but one number, e.g. an L0 that TopK holds at k. */
export function constant({ lines }: Chart): number | null {
  const values = new Set(lines.flatMap(({ y }) => y));
  const only = values.size === 1 ? [...values][0] : null;
  return only ?? null;
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
