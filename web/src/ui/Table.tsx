import { type ReactNode, useState } from "react";
import "./Table.css";

export interface Column<Row> {
  id: string;
  title: string;
  /** What the column means, shown on hovering its title. */
  info?: string;
  /** Right-aligned with figures of equal width. */
  numeric?: boolean;
  cell: (row: Row) => ReactNode;
  /** What the column sorts by; absent: it cannot be sorted by. Nulls go last. */
  value?: (row: Row) => number | string | null;
}

export interface Sort {
  id: string;
  descending: boolean;
}

interface Props<Row> {
  columns: Column<Row>[];
  rows: Row[];
  rowKey: (row: Row, index: number) => string | number;
  /** How it is sorted at first; absent: as the rows come. */
  sort?: Sort;
  /** Name of the table for screen readers. */
  caption: string;
  /** Marks a row, e.g. the dictionary among its baselines. */
  rowClass?: (row: Row) => string | undefined;
}

/** A table that sorts by its titles. */
export function Table<Row>({ columns, rows, rowKey, sort, caption, rowClass }: Props<Row>) {
  const [by, setBy] = useState<Sort | undefined>(sort);
  const shown = by ? sorted(rows, columns.find(({ id }) => id === by.id)?.value, by) : rows;
  const choose = (column: Column<Row>) =>
    setBy({
      id: column.id,
      descending: by?.id === column.id ? !by.descending : Boolean(column.numeric),
    });
  return (
    <div className="table-scroll" role="region" aria-label={caption} tabIndex={0}>
      <table>
        <caption className="off-screen">{caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th
                key={column.id}
                scope="col"
                title={column.info}
                className={column.numeric ? "number" : undefined}
                aria-sort={
                  by?.id === column.id ? (by.descending ? "descending" : "ascending") : undefined
                }
              >
                {column.value ? (
                  <button type="button" className="sort" onClick={() => choose(column)}>
                    {column.title}
                    <span aria-hidden="true" className="sort-sign">
                      {by?.id === column.id ? (by.descending ? "▼" : "▲") : "↕"}
                    </span>
                  </button>
                ) : (
                  column.title
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row, index) => (
            <tr key={rowKey(row, index)} className={rowClass?.(row)}>
              {columns.map((column) => (
                <td key={column.id} className={column.numeric ? "number" : undefined}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function sorted<Row>(rows: Row[], value: Column<Row>["value"], { descending }: Sort): Row[] {
  if (!value) return rows;
  return rows.toSorted((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return x === y ? 0 : x === null ? 1 : -1;
    const order =
      typeof x === "string" || typeof y === "string"
        ? String(x).localeCompare(String(y), "en", { numeric: true })
        : x - y;
    return descending ? -order : order;
  });
}
