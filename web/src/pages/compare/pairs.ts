/** Pairs of dictionaries that are worth comparing. */
import type { Schemas } from "../../api/client";

type Line = Schemas["DictionaryLine"];

/**
 * Pairs of one model: first those of one site with different widths, narrow before wide, then those of
 * neighbouring layers with the same part.
 */
export function worthComparing(lines: Line[], most: number): [Line, Line][] {
  const pairs = lines.flatMap((a, i) =>
    lines.slice(i + 1).map((b): [Line, Line] => (a.n_latents <= b.n_latents ? [a, b] : [b, a])),
  );
  const fit = pairs.filter(([a, b]) => a.model === b.model && distance(a, b) < Infinity);
  return fit.sort((x, y) => distance(...x) - distance(...y)).slice(0, most);
}

function distance(a: Line, b: Line): number {
  if (a.writes === b.writes) return a.n_latents === b.n_latents ? 1 : 0;
  if (a.part !== b.part || a.layer === null || b.layer === null) return Infinity;
  return 1 + Math.abs(a.layer - b.layer);
}
