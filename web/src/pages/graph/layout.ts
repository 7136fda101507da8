/** Where nodes stand: a column for each token, a row for each layer output, all in a square of 0 to 1. */
import type { NodeColumns } from "./columns";

export interface Band {
  /** Its number: a token's position, or a row of half-layers. */
  at: number;
  from: number;
  to: number;
}

export interface Layout {
  /** Of each node; NaN for those that stand nowhere (constants). */
  x: Float32Array;
  y: Float32Array;
  columns: Band[];
  rows: Band[];
  /** The most nodes side by side in one column, in shares of the width: how far apart they are. */
  gap: number;
}

/** How many stand side by side when `n` share a place; wider than high. */
export const perLine = (n: number) => (n <= 3 ? n : Math.ceil(Math.sqrt(2 * n)));

const EMPTY_COLUMN = 0.55;
const SKIPPED_ROW = 0.18;
const MOST_SKIPPED = 0.9;

/** The place of every node; what shares one stands in lines, the strongest raising first. */
export function layoutOf(nodes: NodeColumns, nTokens: number): Layout {
  const cells = new Map<string, number[]>();
  const rowNumbers = new Set<number>();
  nodes.id.forEach((_, i) => {
    const [position, row] = [nodes.position[i], nodes.row[i] ?? 0];
    if (position === null || position === undefined) return;
    rowNumbers.add(row);
    const key = `${row} ${position}`;
    const cell = cells.get(key);
    if (cell) cell.push(i);
    else cells.set(key, [i]);
  });
  const wide = new Float64Array(nTokens).fill(EMPTY_COLUMN);
  const high = new Map<number, number>([...rowNumbers].map((row) => [row, 1]));
  for (const cell of cells.values()) {
    const [position, row] = [nodes.position[cell[0] ?? 0] ?? 0, nodes.row[cell[0] ?? 0] ?? 0];
    const line = perLine(cell.length);
    wide[position] = Math.max(wide[position] ?? 0, line);
    high.set(row, Math.max(high.get(row) ?? 1, 0.55 + 0.45 * Math.ceil(cell.length / line)));
  }
  const columns = columnBands(wide);
  const rows = rowBands(
    [...rowNumbers].sort((a, b) => a - b),
    high,
  );
  const x = new Float32Array(nodes.id.length).fill(Number.NaN);
  const y = new Float32Array(nodes.id.length).fill(Number.NaN);
  const rowOf = new Map(rows.map((row) => [row.at, row]));
  for (const cell of cells.values()) {
    const column = columns[nodes.position[cell[0] ?? 0] ?? 0];
    const row = rowOf.get(nodes.row[cell[0] ?? 0] ?? 0);
    if (column && row) settle(cell, nodes, column, row, x, y);
  }
  const gap = columns.reduce((least, { at, from, to }) => {
    return Math.min(least, (to - from) / Math.max(1, wide[at] ?? 1));
  }, 1);
  return { x, y, columns, rows, gap };
}

/** Columns by their widest place. A crowded one may not take all the width: roots are shared out. */
function columnBands(wide: Float64Array): Band[] {
  const weights = Array.from(wide, (n) => (n <= 1 ? n : n ** 0.8));
  const sum = weights.reduce((a, b) => a + b, 0) || 1;
  let from = 0;
  return weights.map((weight, at) => {
    const band = { at, from, to: from + weight / sum };
    from = band.to;
    return band;
  });
}

/** Rows from the top; where layers have no node, a little room says so. */
function rowBands(numbers: number[], high: ReadonlyMap<number, number>): Band[] {
  const bands: Band[] = [];
  let at = 0;
  numbers.forEach((row, i) => {
    const before = numbers[i - 1];
    if (before !== undefined && row - before > 1)
      at += Math.min(MOST_SKIPPED, SKIPPED_ROW * (row - before - 1));
    bands.push({ at: row, from: at, to: at + (high.get(row) ?? 1) });
    at = bands.at(-1)?.to ?? at;
  });
  const sum = at || 1;
  return bands.map(({ at: row, from, to }) => ({
    at: row,
    from: 1 - to / sum,
    to: 1 - from / sum,
  }));
}

/** Puts the nodes of one place into lines. */
function settle(
  cell: number[],
  nodes: NodeColumns,
  column: Band,
  row: Band,
  x: Float32Array,
  y: Float32Array,
) {
  const ordered = cell.toSorted(
    (a, b) => (nodes.attribution[b] ?? 0) - (nodes.attribution[a] ?? 0),
  );
  const line = perLine(cell.length);
  const lines = Math.ceil(cell.length / line);
  ordered.forEach((i, n) => {
    const [down, along] = [Math.floor(n / line), n % line];
    const here = down === lines - 1 ? cell.length - down * line : line;
    const step = (column.to - column.from) / line;
    x[i] = (column.from + column.to) / 2 + (along - (here - 1) / 2) * step;
    y[i] = row.from + ((row.to - row.from) * (down + 1)) / (lines + 1);
  });
}

/** What a row holds, for its name: the site that most of its nodes write to. */
export function rowSite(nodes: NodeColumns, row: number): string | null {
  const counts = new Map<string, number>();
  nodes.row.forEach((at, i) => {
    const site = nodes.site[i];
    if (at === row && site) counts.set(site, (counts.get(site) ?? 0) + 1);
  });
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? null;
}
