/** Where dictionaries stand in the grid: a column for each layer, a row for each position and width. */
import type { Schemas } from "../../api/client";
import { count } from "../../ui/format";

export type Line = Schemas["DictionaryLine"];

export interface GridRow {
  key: string;
  /** What is read and written, e.g. `resid_post` or `mlp_norm → mlp_out`. */
  position: string;
  /** Width, and what else tells rows of one position apart. */
  width: string;
  /** By column; null where there is none. */
  cells: (Line | null)[];
}

export interface GridLayout {
  layers: (number | null)[];
  rows: GridRow[];
}

const partOf = (site: string) => site.split("@")[0] ?? site;

/** Follows a token's way through a block: attention, then MLP, then the stream behind them. */
const ORDER = ["embed", "resid_pre", "attn", "z", "resid_mid", "mlp", "mixer", "ssm", "resid_post"];
const placeOfPart = (part: string) => {
  const at = ORDER.findIndex((name) => part.startsWith(name));
  return at < 0 ? ORDER.length : at;
};

export function positionOf({ reads, writes }: Line): string {
  const [from, to] = [partOf(reads), partOf(writes)];
  return from === to ? to : `${from} → ${to}`;
}

function groupBy(lines: readonly Line[], keyOf: (line: Line) => string): Map<string, Line[]> {
  const groups = new Map<string, Line[]>();
  for (const line of lines) {
    const key = keyOf(line);
    const group = groups.get(key);
    if (group) group.push(line);
    else groups.set(key, [line]);
  }
  return groups;
}

/** The name without its layer: what two dictionaries of one cell differ in. */
const variantOf = ({ name, layer }: Line) =>
  layer === null ? name : name.replaceAll(new RegExp(`([-@.])${layer}(?=[-.]|$)`, "g"), "$1*");

/** Rows and columns; where one cell would hold several dictionaries its row is split. */
export function layOut(dictionaries: readonly Line[]): GridLayout {
  const layers = [...new Set(dictionaries.map(({ layer }) => layer))].toSorted(
    (a, b) => (a ?? -1) - (b ?? -1),
  );
  const groups = groupBy(dictionaries, (line) => `${positionOf(line)}\n${line.n_latents}`);
  const sorted = [...groups.values()].toSorted(([a], [b]) => {
    if (!a || !b) return 0;
    return (
      placeOfPart(a.part) - placeOfPart(b.part) ||
      positionOf(a).localeCompare(positionOf(b)) ||
      a.n_latents - b.n_latents
    );
  });
  return { layers, rows: sorted.flatMap((lines) => rowsOf(lines, layers)) };
}

function rowsOf(lines: Line[], layers: (number | null)[]): GridRow[] {
  const first = lines[0];
  if (!first) return [];
  const crowded = new Set(lines.map(({ layer }) => layer)).size < lines.length;
  const variants = groupBy(lines, (line) => (crowded ? variantOf(line) : ""));
  const expansion = first.expansion === null ? "" : ` · ${Number(first.expansion.toFixed(1))}×`;
  return [...variants].flatMap(([variant, members]) => {
    const rows: (Line | null)[][] = [];
    for (const line of members) {
      const column = layers.indexOf(line.layer);
      const free = rows.find((cells) => !cells[column]);
      if (free) free[column] = line;
      else rows.push(layers.map((_, i) => (i === column ? line : null)));
    }
    return rows.map(
      (cells, i): GridRow => ({
        key: `${positionOf(first)} ${first.n_latents} ${variant} ${i}`,
        position: positionOf(first),
        width: `${count(first.n_latents)}${expansion}${crowded ? ` · ${tellApart(cells, variants.size > 1)}` : ""}`,
        cells,
      }),
    );
  });
}

/** By position, then width, then layer. */
export const inOrder = (lines: readonly Line[]) =>
  lines.toSorted(
    (a, b) =>
      placeOfPart(a.part) - placeOfPart(b.part) ||
      positionOf(a).localeCompare(positionOf(b)) ||
      a.n_latents - b.n_latents ||
      (a.layer ?? -1) - (b.layer ?? -1),
  );

/** What a split row is called: its sparsity and L0, or else the run it is from. */
function tellApart(cells: (Line | null)[], bySparsity: boolean): string {
  const line = cells.find((cell) => cell !== null);
  if (!line) return "";
  const k = /-(\d+(?:\.\d+)?)$/.exec(line.name)?.[1];
  if (bySparsity) return k ? `${line.sparsity} ${k}` : line.sparsity;
  // A run's folder begins with its time and ends with its recipe's digest.
  const run = line.run?.replace(/^\d{8}-\d{6}-/, "").replace(/-[0-9a-f]{8}$/, "");
  return run ?? line.id.split(".").at(-1) ?? "";
}

/** The cell to go to from a cell with an arrow key; empty ones are skipped. */
export function nextCell(
  rows: readonly GridRow[],
  [row, column]: readonly [number, number],
  key: string,
): [number, number] | null {
  const step = {
    ArrowRight: [0, 1],
    ArrowLeft: [0, -1],
    ArrowDown: [1, 0],
    ArrowUp: [-1, 0],
  }[key];
  const width = rows[row]?.cells.length ?? 0;
  if (key === "Home" || key === "End") {
    const filled = rows[row]?.cells.flatMap((cell, i) => (cell ? [i] : [])) ?? [];
    const to = key === "Home" ? filled[0] : filled.at(-1);
    return to === undefined ? null : [row, to];
  }
  if (!step) return null;
  const [down = 0, right = 0] = step;
  let [r, c] = [row + down, column + right];
  while (r >= 0 && r < rows.length && c >= 0 && c < width) {
    if (rows[r]?.cells[c]) return [r, c];
    [r, c] = [r + down, c + right];
  }
  return null;
}
