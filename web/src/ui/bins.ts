/** Where things lie on the x axis of a histogram: every bin is drawn equally wide. */
import { scaleLinear } from "d3-scale";
import type { Schemas } from "../api/client";
import { rounded } from "./format";

type Bins = Schemas["Histogram"];

/** The value at an edge: logarithmic edges are taken back to what they stand for. */
export const valueAt = (histogram: Bins, edge: number) =>
  histogram.scale === "log10" ? Number((10 ** edge).toPrecision(12)) : edge;

/** The place of an edge's unit in bins from the left, e.g. 2.5; null outside of them. */
export function placeOf(edges: readonly number[], x: number): number | null {
  const last = edges.length - 1;
  const [first, final] = [edges[0], edges[last]];
  if (first === undefined || final === undefined || !(x >= first && x <= final)) return null;
  const after = edges.findIndex((edge) => edge > x);
  if (after <= 0) return after === 0 ? 0 : last;
  const [low = x, high = x] = [edges[after - 1], edges[after]];
  return after - 1 + (high > low ? (x - low) / (high - low) : 0);
}

/** The place of a plain value, also where edges are logarithms. */
export function placeOfValue(histogram: Bins, value: number): number | null {
  if (histogram.scale !== "log10") return placeOf(histogram.edges, value);
  return value > 0 ? placeOf(histogram.edges, Math.log10(value)) : null;
}

const isEven = (edges: readonly number[]) => {
  const step = ((edges.at(-1) ?? 0) - (edges[0] ?? 0)) / (edges.length - 1);
  return edges.every((edge, i) => Math.abs(edge - (edges[0] ?? 0) - i * step) <= 0.01 * step);
};

export interface Tick {
  place: number;
  text: string;
}

/** About `n` ticks: round numbers, powers of ten, or edges where bins grow. */
export function ticks(histogram: Bins, n: number): Tick[] {
  const { edges, scale } = histogram;
  const [first, last] = [edges[0], edges.at(-1)];
  if (first === undefined || last === undefined) return [];
  if (scale !== "log10" && !isEven(edges)) {
    const every = Math.ceil(edges.length / n);
    return edges.flatMap((edge, i) =>
      i % every === 0 ? [{ place: i, text: rounded(edge, 2) }] : [],
    );
  }
  const round = scaleLinear().domain([first, last]).ticks(n);
  const wanted = scale === "log10" && last - first >= 2 ? round.filter(Number.isInteger) : round;
  return wanted.flatMap((edge) => {
    const place = placeOf(edges, edge);
    if (place === null) return [];
    return [{ place, text: rounded(valueAt(histogram, edge)) }];
  });
}
