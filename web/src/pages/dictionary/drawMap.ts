/** Draws the points of a map, colour by colour. */
import { sequential } from "../../ui/colour";
import type { View } from "../../ui/squareView";
import type { FeatureMap, Points } from "./mapView";

export type ColourBy = "density" | "label";

const BUCKETS = 16;
export const MARGIN = 12;

/** The colour of each point as a bucket, from weak to strong. */
export function bucketsOf(map: FeatureMap, by: ColourBy): Uint8Array {
  if (by === "label")
    return Uint8Array.from(map.labels, (label) =>
      label !== "" && label !== "not known" ? BUCKETS - 1 : 0,
    );
  if (!map.density) return new Uint8Array(map.latents.length).fill(BUCKETS / 2);
  const logs = map.density.map((value) => (value > 0 ? Math.log10(value) : null));
  const alive = logs.filter((value) => value !== null).toSorted((a, b) => a - b);
  // Without the last hundredths at both ends, where a few latents would take all colours.
  const low = alive[Math.floor(alive.length * 0.01)] ?? -5;
  const high = alive[Math.floor(alive.length * 0.99)] ?? 0;
  const span = Math.max(1e-9, high - low);
  return Uint8Array.from(logs, (value) =>
    value === null
      ? 0
      : Math.min(BUCKETS - 1, Math.max(0, Math.floor(((value - low) / span) * BUCKETS))),
  );
}

/** Colours that stand out from the page the more, the larger the value; so the scale turns with the theme. */
export function ramp(theme: "light" | "dark"): string[] {
  return Array.from({ length: BUCKETS }, (_, i) => {
    const share = i / (BUCKETS - 1);
    const place = theme === "dark" ? 0.25 + 0.75 * share : 0.82 - 0.82 * share;
    return sequential(place).background;
  });
}

interface Scene {
  points: Points;
  buckets: Uint8Array;
  colours: string[];
  view: View;
  found: readonly number[];
  over: number | null;
  ink: string;
}

/** The place of a point on a canvas of this size, in its pixels. */
export function placeOf(points: Points, i: number, view: View, width: number, height: number) {
  const at = (value: number, corner: number, size: number) =>
    MARGIN + (value - corner) * view.zoom * (size - 2 * MARGIN);
  return {
    x: at(points.x[i] ?? 0, view.left, width),
    y: at(points.y[i] ?? 0, view.top, height),
  };
}

/** All of it; `scale` is how many pixels of the screen one of the page has. */
export function draw(canvas: HTMLCanvasElement, scene: Scene, scale: number) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const { points, buckets, colours, view, found, over, ink } = scene;
  const [width, height] = [canvas.width / scale, canvas.height / scale];
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const n = points.x.length;
  const size = Math.min(7, (n > 40_000 ? 1.6 : n > 8_000 ? 2.2 : 3) * Math.sqrt(view.zoom));
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    context.fillStyle = colours[bucket] ?? "#888";
    for (let i = 0; i < n; i++) {
      if (buckets[i] !== bucket) continue;
      const { x, y } = placeOf(points, i, view, width, height);
      if (x < -size || y < -size || x > width + size || y > height + size) continue;
      context.fillRect(x - size / 2, y - size / 2, size, size);
    }
  }
  context.strokeStyle = ink;
  context.lineWidth = 1.5;
  for (const i of found) ring(context, placeOf(points, i, view, width, height), size / 2 + 2.5);
  if (over === null) return;
  context.lineWidth = 2.5;
  ring(context, placeOf(points, over, view, width, height), size / 2 + 5);
}

function ring(context: CanvasRenderingContext2D, at: { x: number; y: number }, radius: number) {
  context.beginPath();
  context.arc(at.x, at.y, radius, 0, 2 * Math.PI);
  context.stroke();
}
