/** The circuit that a person keeps: pinned nodes and groups as boxes, with the flows between them. */
import type { LinkColumns, NodeColumns } from "./columns";
import type { Arrangement } from "./edits";

export interface Box {
  /** The node's id, or `group:NAME`. */
  key: string;
  title: string;
  ids: string[];
  attribution: number;
  /** Where it would stand by itself: mean row and position. */
  row: number;
  position: number;
  isGroup: boolean;
}

export interface Flow {
  source: string;
  goal: string;
  flow: number;
  /** How many links it sums. */
  n: number;
}

/** Boxes of what is kept, the target first; ids that the graph does not hold are left out. */
export function boxesOf(
  nodes: NodeColumns,
  index: ReadonlyMap<string, number>,
  kept: Pick<Arrangement, "pinned" | "supernodes">,
  nameOf: (i: number) => string,
): Box[] {
  const inGroup = new Set(kept.supernodes.flatMap(({ ids }) => ids));
  const box = (key: string, title: string | null, ids: readonly string[]): Box | null => {
    const places = ids.flatMap((id) => index.get(id) ?? []);
    const first = places[0];
    if (first === undefined) return null;
    const mean = (of: (i: number) => number) =>
      places.reduce((sum, i) => sum + of(i), 0) / places.length;
    return {
      key,
      title: title ?? nameOf(first),
      ids: places.map((i) => nodes.id[i] ?? ""),
      attribution: places.reduce((sum, i) => sum + (nodes.attribution[i] ?? 0), 0),
      row: mean((i) => nodes.row[i] ?? 0),
      position: mean((i) => nodes.position[i] ?? 0),
      isGroup: title !== null,
    };
  };
  const single = ["target", ...kept.pinned].filter((id) => !inGroup.has(id));
  return [
    ...[...new Set(single)].map((id) => box(id, null, [id])),
    ...kept.supernodes.map(({ name, ids }) => box(`group:${name}`, name, ids)),
  ].filter((one) => one !== null);
}

/** All flows between boxes, largest first; links within a group are its own. */
export function flowsBetween(
  boxes: readonly Box[],
  nodes: NodeColumns,
  links: readonly LinkColumns[],
): Flow[] {
  const home = new Map(boxes.flatMap(({ key, ids }) => ids.map((id) => [id, key] as const)));
  const seen = new Set<string>();
  const flows = new Map<string, Flow>();
  for (const { source, goal, flow } of links)
    flow.forEach((value, at) => {
      const [low, high] = [nodes.id[source[at] ?? -1] ?? "", nodes.id[goal[at] ?? -1] ?? ""];
      const [from, to] = [home.get(low), home.get(high)];
      if (from === undefined || to === undefined || from === to) return;
      const link = `${low}\n${high}`;
      if (seen.has(link)) return;
      seen.add(link);
      const key = `${from}\n${to}`;
      const before = flows.get(key);
      if (before) {
        before.flow += value;
        before.n += 1;
      } else flows.set(key, { source: from, goal: to, flow: value, n: 1 });
    });
  return [...flows.values()].sort((a, b) => Math.abs(b.flow) - Math.abs(a.flow));
}

/**
 * Where boxes stand when nobody has moved them, in shares of the drawing: rows by layer, from left to right
 * by position. A row with more boxes than fit beside each other takes several lines.
 */
export function placesOf(
  boxes: readonly Box[],
  perLine: number,
): { places: Map<string, [number, number]>; nLines: number } {
  const rows = [...new Set(boxes.map(({ row }) => Math.round(row)))].sort((a, b) => b - a);
  const lines = rows.flatMap((row) => {
    const here = boxes
      .filter((box) => Math.round(box.row) === row)
      .toSorted((a, b) => a.position - b.position || a.key.localeCompare(b.key));
    const n = Math.ceil(here.length / Math.max(1, perLine));
    // Neighbours go to different lines, so that all keep near their token.
    return Array.from({ length: n }, (_, line) => ({
      of: here.length,
      // A short row keeps to the middle; a long one reaches from side to side.
      spread: Math.min(1, here.length / Math.max(1, perLine)),
      boxes: here.flatMap((box, at) => (at % n === line ? [{ box, at }] : [])),
    }));
  });
  const places = new Map<string, [number, number]>();
  lines.forEach((line, y) => {
    for (const { box, at } of line.boxes)
      places.set(box.key, [
        line.of === 1 ? 0.5 : 0.5 + (at / (line.of - 1) - 0.5) * line.spread,
        (y + 0.5) / lines.length,
      ]);
  });
  return { places, nLines: lines.length };
}
