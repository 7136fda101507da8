/** A figure over the layers, a line for each position and width. */
import type { Schemas } from "../../api/client";
import { layOut, type Line } from "./layout";
import type { Measure } from "./measures";

/** Rows with one measured layer make no line and are left out. */
export function linesByLayer(lines: readonly Line[], measure: Measure): Schemas["Line"][] {
  const { layers, rows } = layOut(lines);
  return rows.flatMap((row) => {
    const points = row.cells.flatMap((line, i): [number, number][] => {
      const layer = layers[i];
      const value = line ? measure.of(line) : null;
      return typeof layer === "number" && value !== null ? [[layer, value]] : [];
    });
    if (points.length < 2) return [];
    const name = `${row.position} ${row.width}`;
    return [{ name, x: points.map(([layer]) => layer), y: points.map(([, value]) => value) }];
  });
}
