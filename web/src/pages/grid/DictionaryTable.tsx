import { DictionaryName } from "../../ui/DictionaryName";
import { fixed, NONE } from "../../ui/format";
import { type Column, Table } from "../../ui/Table";
import { inOrder, type Line, positionOf } from "./layout";
import { MEASURES } from "./measures";

const SITE: Column<Line>[] = [
  {
    id: "name",
    title: "Dictionary",
    cell: (line) => <DictionaryName line={line} />,
    value: (line) => `${positionOf(line)} ${line.layer ?? ""} ${line.n_latents}`,
  },
  {
    id: "layer",
    title: "Layer",
    numeric: true,
    cell: (line) => line.layer ?? NONE,
    value: (line) => line.layer,
  },
];
const STATUS: Column<Line> = {
  id: "status",
  title: "Status",
  cell: (line) => <span className="muted">{line.status}</span>,
  value: (line) => line.status,
};
const DECIMALS: Record<string, number> = { l0: 1 };

const FIGURES = MEASURES.map(
  (measure): Column<Line> => ({
    id: measure.id,
    title: measure.title,
    info: measure.info,
    numeric: true,
    cell: (line) => {
      const value = measure.of(line);
      const percent = measure.id === "dead_fraction" || measure.id === "labels";
      if (value === null) return NONE;
      return percent ? `${fixed(100 * value, 1)} %` : fixed(value, DECIMALS[measure.id] ?? 3);
    },
    value: measure.of,
  }),
);

/** Dictionaries with their figures, to be sorted. */
export function DictionaryTable({ lines, caption }: { lines: Line[]; caption: string }) {
  return (
    <Table
      columns={[...SITE, ...FIGURES, STATUS]}
      rows={inOrder(lines)}
      rowKey={(line) => line.id}
      caption={caption}
    />
  );
}
