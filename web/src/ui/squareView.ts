/** A drawing on a square of side 1 that is zoomed and moved: what part of it is seen, and who stands next. */

/** What part of the square is seen: its left upper corner, and how many times it is enlarged. */
export interface View {
  left: number;
  top: number;
  zoom: number;
}

export const WHOLE: View = { left: 0, top: 0, zoom: 1 };
const LARGEST_ZOOM = 64;
/** Closer than this two places are the same. */
const SAME = 1e-9;

const inside = (corner: number, zoom: number) => Math.min(1 - 1 / zoom, Math.max(0, corner));

/** Enlarged by a factor around a place of the frame (0 to 1). */
export function zoomed({ left, top, zoom }: View, factor: number, x = 0.5, y = 0.5): View {
  const next = Math.min(LARGEST_ZOOM, Math.max(1, zoom * factor));
  return {
    left: inside(left + x / zoom - x / next, next),
    top: inside(top + y / zoom - y / next, next),
    zoom: next,
  };
}

/** Moved by a share of the frame. */
export function moved({ left, top, zoom }: View, dx: number, dy: number): View {
  return { left: inside(left - dx / zoom, zoom), top: inside(top - dy / zoom, zoom), zoom };
}

/** Moved just so far that a place is seen. */
export function showing(view: View, x: number, y: number): View {
  const shift = (corner: number, at: number) =>
    at < corner || at > corner + 1 / view.zoom ? inside(at - 0.5 / view.zoom, view.zoom) : corner;
  return { left: shift(view.left, x), top: shift(view.top, y), zoom: view.zoom };
}

interface Places {
  x: ArrayLike<number>;
  y: ArrayLike<number>;
}

/**
 * The next place in the direction of an arrow key: near, and not far to the side, at most `aslant` times as far as
 * along. Places without coordinates are passed over.
 */
export function towards({ x, y }: Places, from: number, key: string, aslant = 1): number | null {
  const [dx, dy] =
    { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[key] ?? [];
  if (dx === undefined || dy === undefined) return null;
  let best: number | null = null;
  let least = Infinity;
  for (let i = 0; i < x.length; i++) {
    const right = (x[i] ?? Number.NaN) - (x[from] ?? 0);
    const down = (y[i] ?? Number.NaN) - (y[from] ?? 0);
    const along = right * dx + down * dy;
    const aside = Math.abs(right * dy) + Math.abs(down * dx);
    if (!(along > SAME) || aside > aslant * along) continue;
    const distance = along + 2 * aside;
    if (distance >= least) continue;
    least = distance;
    best = i;
  }
  return best;
}
