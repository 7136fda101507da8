/** From the square that nodes stand in to the screen and back. */
import type { View } from "../../ui/squareView";
import type { Layout } from "./layout";

/** The part of the canvas that the square fills, in its pixels. */
export interface Frame {
  left: number;
  top: number;
  width: number;
  height: number;
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
