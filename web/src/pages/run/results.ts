/** What a run found, as tables: results with the same figures share one. */

export type Figures = Record<string, unknown>;

export interface ResultTable {
  keys: string[];
  rows: { name: string; figures: Figures }[];
}

const isInterval = (key: string) => key.endsWith("_interval");

/** One table for each set of figures, in the order in which they were written. */
export function resultTables(results: Record<string, Figures>): ResultTable[] {
  const tables = new Map<string, ResultTable>();
  for (const [name, figures] of Object.entries(results)) {
    const keys = Object.keys(figures).filter((key) => !isInterval(key) && figures[key] !== null);
    const signature = keys.join("\n");
    const table = tables.get(signature) ?? { keys, rows: [] };
    table.rows.push({ name, figures });
    tables.set(signature, table);
  }
  return [...tables.values()].filter(({ keys }) => keys.length > 0);
}

/** The two ends of a figure's interval, where it has one. */
export function intervalOf(figures: Figures, key: string): [number, number] | null {
  const ends = figures[`${key}_interval`];
  if (!Array.isArray(ends)) return null;
  const [low, high] = ends as unknown[];
  return typeof low === "number" && typeof high === "number" ? [low, high] : null;
}

/** Keys in dots with their values, as `--set` takes them. */
export function flattened(values: unknown, prefix = ""): [string, string][] {
  const isTable = typeof values === "object" && values !== null && !Array.isArray(values);
  if (isTable) {
    const entries = Object.entries(values);
    if (entries.length === 0) return prefix ? [[prefix, "{}"]] : [];
    return entries.flatMap(([key, value]) => flattened(value, prefix ? `${prefix}.${key}` : key));
  }
  const tables =
    Array.isArray(values) && values.length > 0 && values.every((v) => typeof v === "object");
  if (tables && !values.some((v) => Array.isArray(v)))
    return values.flatMap((value, i) => flattened(value, `${prefix}[${i}]`));
  return [[prefix, toml(values)]];
}

function toml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toml).join(", ")}]`;
  if (value === null || value === undefined) return "–";
  return typeof value === "object" ? JSON.stringify(value) : JSON.stringify(value);
}
