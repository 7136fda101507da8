/** The heat map of an attention score: which writer at the query meets which at the key. */
import type { Schemas } from "../../api/client";

export type ScorePanel = Schemas["ScorePanel"];
export type ScoreSide = Schemas["ScoreSide"];

/** The largest size in a table of numbers. */
export const largestIn = (rows: readonly (readonly number[])[]) =>
  rows.reduce((most, row) => row.reduce((m, value) => Math.max(m, Math.abs(value)), most), 0);

export interface Cut {
  /** Indices into the sides that are shown, in order. */
  queries: number[];
  keys: number[];
  /** Values with a last row and column for all that is not shown. */
  values: number[][];
}

/** The strongest `n` of each side, and the rest summed: all cells still sum to the score. */
export function strongest(panel: Pick<ScorePanel, "matrix">, n: number): Cut {
  const { matrix } = panel;
  const [nq, nk] = [matrix.length - 1, (matrix[0]?.length ?? 1) - 1];
  const weight = (values: readonly number[]) => values.reduce((sum, v) => sum + Math.abs(v), 0);
  const top = (sizes: number[]) =>
    sizes
      .map((size, i) => ({ size, i }))
      .sort((a, b) => b.size - a.size)
      .slice(0, n)
      .map(({ i }) => i);
  const queries = top(matrix.slice(0, nq).map(weight));
  const keys = top(Array.from({ length: nk }, (_, k) => weight(matrix.map((row) => row[k] ?? 0))));
  const row = (values: readonly number[]) => {
    const shown = keys.map((k) => values[k] ?? 0);
    return [...shown, values.reduce((a, b) => a + b, 0) - shown.reduce((a, b) => a + b, 0)];
  };
  const shown = queries.map((q) => row(matrix[q] ?? []));
  const all = row(
    Array.from({ length: nk + 1 }, (_, k) => matrix.reduce((s, r) => s + (r[k] ?? 0), 0)),
  );
  const rest = all.map((value, k) => value - shown.reduce((sum, r) => sum + (r[k] ?? 0), 0));
  return { queries, keys, values: [...shown, rest] };
}
