/** How strongly something is drawn: three powers of ten below the largest are told apart. */

const DECADES = 3;

/** 1 for the largest, 0 for a thousandth of it and less. */
export function strength(value: number, largest: number): number {
  const size = Math.abs(value) / (largest || 1);
  if (!(size > 0)) return 0;
  return Math.min(1, Math.max(0, 1 + Math.log10(size) / DECADES));
}

/** The largest size of a column, over the rows that count. */
export function largest(
  values: readonly number[],
  counts: (i: number) => boolean = () => true,
): number {
  let found = 0;
  for (let i = 0; i < values.length; i++)
    if (counts(i)) found = Math.max(found, Math.abs(values[i] ?? 0));
  return found;
}

/** Radius of a node in pixels; it grows slower than the page, so that zooming in takes nodes apart. */
export function radiusOf(attribution: number, most: number, zoom: number, room: number): number {
  const size = (2.6 + 5.2 * strength(attribution, most)) * zoom ** 0.35;
  return Math.max(1.6, Math.min(size, room));
}

export const LINK_BUCKETS = 5;

/** How many links may be at least so strong, from the faintest bucket on: ink is for the strongest. */
const AT_MOST = [Infinity, 1500, 400, 100, 20];

/**
 * The bucket of a link by its size, from 0 (faint) on. `rank` is its place among those drawn, strongest first:
 * a thousand thick lines would say nothing.
 */
export function linkBucket(flow: number, most: number, rank: number): number {
  let bucket = Math.min(LINK_BUCKETS - 1, Math.floor(strength(flow, most) * LINK_BUCKETS));
  while (rank >= (AT_MOST[bucket] ?? Infinity)) bucket -= 1;
  return bucket;
}
export const linkWidth = (bucket: number) => [0.5, 0.7, 1.1, 1.9, 3.2][bucket] ?? 1;
export const linkAlpha = (bucket: number) => [0.1, 0.17, 0.3, 0.5, 0.8][bucket] ?? 0.3;
