import { memo } from "react";
import { sequential } from "../../ui/colour";
import type { GridRow, Line } from "./layout";
import { type Measure, placeIn } from "./measures";

interface Props {
  row: GridRow;
  number: number;
  /** Whether the row above is of another position. */
  newPosition: boolean;
  measure: Measure;
  range: [number, number] | null;
  /** The column that Tab reaches; the others are reached with arrow keys. */
  reachable: number | null;
}

/** What stands in a cell without a figure. */
const SIGNS: Record<string, [string, string]> = {
  waiting: ["…", "waits for its training"],
  trained: ["○", "trained, not measured"],
  failed: ["✕", "failed"],
};
const unmeasured = (line: Line) => SIGNS[line.status] ?? ["○", "not measured"];

/** One position and width over all layers. */
export const HeatRow = memo(function HeatRow(props: Props) {
  const { row, number, newPosition, measure, range, reachable } = props;
  return (
    <tr className={newPosition ? "heat-group" : undefined}>
      <th scope="row" className="heat-position mono">
        <span className={newPosition ? undefined : "off-screen"}>{row.position}</span>
      </th>
      <th scope="row" className="heat-width">
        {row.width}
      </th>
      {row.cells.map((line, column) => {
        if (!line) return <td key={column} />;
        const value = measure.of(line);
        const [sign, why] = value === null ? unmeasured(line) : [measure.brief(value), ""];
        const { background, ink } = sequential(placeIn(range, value));
        return (
          <td key={column}>
            <a
              href={`/dictionaries/${encodeURIComponent(line.id)}`}
              className={value === null ? "heat-cell heat-empty" : "heat-cell"}
              data-cell={`${number} ${column}`}
              tabIndex={reachable === column ? 0 : -1}
              style={value === null ? undefined : { background, color: ink }}
              aria-label={`${line.name}: ${measure.title} ${why || `${sign}, ${measure.format(value)}`}`}
            >
              {sign}
            </a>
          </td>
        );
      })}
    </tr>
  );
});
