/** Two histograms with different edges on one axis. */
import type { Schemas } from "../../api/client";

type Histogram = Schemas["Histogram"];

/** Each bar's share of all counts. */
export function shares({ counts }: Histogram): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.map((count) => (total ? count / total : 0));
}

/** The share of all counts between two values; bars that reach over them are cut in proportion. */
export function within(histogram: Histogram, low: number, high: number): number {
  return shares(histogram).reduce((sum, one, i) => {
    const from = histogram.edges[i] ?? 0;
    const to = histogram.edges[i + 1] ?? from;
    const overlap = Math.min(high, to) - Math.max(low, from);
    return overlap > 0 ? sum + (one * overlap) / (to - from) : sum;
  }, 0);
}
