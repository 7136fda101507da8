/** From the square that nodes stand in to the screen and back, and who stands next. */
import type { Layout } from "./layout";

/** What part of the square is seen: its left upper corner, and how many times it is enlarged. */
export interface View {
  left: number;
  top: number;
  zoom: number;
}

export const WHOLE: View = { left: 0, top: 0, zoom: 1 };
const LARGEST_ZOOM = 40;

/** The part of the canvas that the square fills, in its pixels. */
export interface Frame {
  left: number;
  top: number;
  width: number;
  height: number;
}

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

export const screenX = (x: number, view: View, frame: Frame) =>
  frame.left + (x - view.left) * view.zoom * frame.width;
export const screenY = (y: number, view: View, frame: Frame) =>
  frame.top + (y - view.top) * view.zoom * frame.height;

/** The nearest node to a place on the screen within `reach` pixels, or null. */
export function nearest(
  layout: Layout,
  view: View,
  frame: Frame,
  at: { x: number; y: number },
  reach: number,
): number | null {
  let best: number | null = null;
  let least = reach * reach;
  for (let i = 0; i < layout.x.length; i++) {
    const dx = screenX(layout.x[i] ?? Number.NaN, view, frame) - at.x;
    const dy = screenY(layout.y[i] ?? Number.NaN, view, frame) - at.y;
    const distance = dx * dx + dy * dy;
    if (!(distance <= least)) continue;
    least = distance;
    best = i;
  }
  return best;
}

/** All nodes in a rectangle of the screen. */
export function within(
  layout: Layout,
  view: View,
  frame: Frame,
  a: { x: number; y: number },
  b: { x: number; y: number },
): number[] {
  const [x0, x1] = [Math.min(a.x, b.x), Math.max(a.x, b.x)];
  const [y0, y1] = [Math.min(a.y, b.y), Math.max(a.y, b.y)];
  const found: number[] = [];
  for (let i = 0; i < layout.x.length; i++) {
    const x = screenX(layout.x[i] ?? Number.NaN, view, frame);
    const y = screenY(layout.y[i] ?? Number.NaN, view, frame);
    if (x >= x0 && x <= x1 && y >= y0 && y <= y1) found.push(i);
  }
  return found;
}

/** The next node in the direction of an arrow key: near, and not far to the side. */
export function towards(layout: Layout, from: number, key: string): number | null {
  const [dx, dy] =
    { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[key] ?? [];
  if (dx === undefined || dy === undefined) return null;
  let best: number | null = null;
  let least = Infinity;
  for (let i = 0; i < layout.x.length; i++) {
    const x = (layout.x[i] ?? Number.NaN) - (layout.x[from] ?? 0);
    const y = (layout.y[i] ?? Number.NaN) - (layout.y[from] ?? 0);
    const along = x * dx + y * dy;
    const aside = Math.abs(x * dy) + Math.abs(y * dx);
    if (!(along > 1e-6) || aside > 2 * along) continue;
    const distance = along + 2 * aside;
    if (distance >= least) continue;
    least = distance;
    best = i;
  }
  return best;
}
