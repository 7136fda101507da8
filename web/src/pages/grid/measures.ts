/** By what the cells of the grid are coloured. */
import { number } from "../../ui/format";
import { definition } from "../definitions";
import type { Line } from "./layout";

export interface Measure {
  id: string;
  title: string;
  info: string;
  /** Null where it is not measured. */
  of: (line: Line) => number | null;
  /** In full, with its unit. */
  format: (x: number | null) => string;
  /** In three characters, for a cell. */
  brief: (x: number) => string;
}

const percent = (x: number) => {
  const value = 100 * x;
  if (value === 0) return "0";
  if (value < 1) return "<1";
  return value > 99 && value < 100 ? ">99" : String(Math.round(value));
};
const whole = (x: number) => (x < 10 ? String(Number(x.toFixed(1))) : String(Math.round(x)));
const figure = (id: string, of: Measure["of"], brief: Measure["brief"]): Measure => ({
  id,
  ...definition(id),
  of,
  brief,
});

export const MEASURES: readonly Measure[] = [
  figure("explained_variance_centred", (line) => line.explained_variance_centred ?? null, percent),
  figure("ce_recovered_zero", (line) => line.ce_recovered_zero ?? null, percent),
  figure("dead_fraction", (line) => line.dead_fraction ?? null, percent),
  figure("l0", (line) => line.l0 ?? null, whole),
  {
    id: "labels",
    title: "Labels known",
    info: "Share of latents whose label scored above the threshold on text that its writer had not read.",
    of: (line) =>
      typeof line.n_labels_known === "number" ? line.n_labels_known / line.n_latents : null,
    format: (x) => (x === null ? "–" : `${number(100 * x, 3)} %`),
    brief: percent,
  },
];

/** The least and the largest value there is; null where nothing is measured. */
export function rangeOf(lines: readonly Line[], measure: Measure): [number, number] | null {
  const values = lines.map(measure.of).filter((value) => value !== null);
  return values.length === 0 ? null : [Math.min(...values), Math.max(...values)];
}

/** Where a value lies in a range; the middle where all are equal. */
export function placeIn(range: readonly [number, number] | null, value: number | null) {
  if (range === null || value === null) return null;
  const [low, high] = range;
  return high > low ? (value - low) / (high - low) : 0.5;
}
