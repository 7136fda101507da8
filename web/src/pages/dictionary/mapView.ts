/** Where points of a map are on the screen, and which one is under the pointer. */
import type { Schemas } from "../../api/client";

export type FeatureMap = Schemas["FeatureMap"];

/** Coordinates between 0 and 1, and a grid over them to find points by place. */
export interface Points {
  x: Float32Array;
  y: Float32Array;
  side: number;
  /** Points by cell of the grid, row by row; `starts` says where each cell begins. */
  order: Uint32Array;
  starts: Uint32Array;
}

const PER_CELL = 4;

function unit(values: readonly number[]): Float32Array {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const span = high - low;
  return Float32Array.from(values, (value) => (span > 0 ? (value - low) / span : 0.5));
}

export function pointsOf(map: FeatureMap): Points {
  const x = unit(map.x);
  const y = unit(map.y).map((value) => 1 - value); // up is up
  const side = Math.max(1, Math.round(Math.sqrt(x.length / PER_CELL)));
  const cells = Uint32Array.from(x, (value, i) => cellOf(value, y[i] ?? 0, side));
  const starts = new Uint32Array(side * side + 1);
  for (const cell of cells) starts[cell + 1] = (starts[cell + 1] ?? 0) + 1;
  for (let i = 1; i < starts.length; i++) starts[i] = (starts[i] ?? 0) + (starts[i - 1] ?? 0);
  const next = starts.slice();
  const order = new Uint32Array(x.length);
  cells.forEach((cell, i) => {
    const at = next[cell] ?? 0;
    order[at] = i;
    next[cell] = at + 1;
  });
  return { x, y, side, order, starts };
}

const clampCell = (value: number, side: number) =>
  Math.min(side - 1, Math.max(0, Math.floor(value * side)));
const cellOf = (x: number, y: number, side: number) =>
  clampCell(y, side) * side + clampCell(x, side);

/** The nearest point within a radius of a place on the map, or null. */
export function nearest(points: Points, x: number, y: number, radius: number): number | null {
  const { side, order, starts } = points;
  let best: number | null = null;
  let least = radius * radius;
  for (let row = clampCell(y - radius, side); row <= clampCell(y + radius, side); row++)
    for (
      let column = clampCell(x - radius, side);
      column <= clampCell(x + radius, side);
      column++
    ) {
      const cell = row * side + column;
      for (let at = starts[cell] ?? 0; at < (starts[cell + 1] ?? 0); at++) {
        const i = order[at] ?? 0;
        const distance = ((points.x[i] ?? 0) - x) ** 2 + ((points.y[i] ?? 0) - y) ** 2;
        if (distance > least) continue;
        least = distance;
        best = i;
      }
    }
  return best;
}

/** Numbers that begin with the words, or labels that hold all of them. */
export function matches(map: FeatureMap, words: string): number[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  if (wanted.length === 0) return [];
  return map.latents.flatMap((latent, i) => {
    const text = `${latent} ${(map.labels[i] ?? "").toLowerCase()}`;
    return wanted.every((word) =>
      /^\d+$/.test(word) ? String(latent) === word : text.includes(word),
    )
      ? [i]
      : [];
  });
}
