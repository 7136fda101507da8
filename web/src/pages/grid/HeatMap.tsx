import { type FocusEvent, type KeyboardEvent, type PointerEvent, useMemo, useState } from "react";
import { useLocation } from "wouter";
import { CellTip } from "./CellTip";
import { HeatRow } from "./HeatRow";
import { layOut, type Line, nextCell } from "./layout";
import { type Measure, rangeOf } from "./measures";
import "./HeatMap.css";

interface Shown {
  line: Line;
  box: DOMRect;
}

/** Dictionaries by layer, position and width, coloured by one figure. */
export function HeatMap({ lines, measure }: { lines: readonly Line[]; measure: Measure }) {
  const { layers, rows } = useMemo(() => layOut(lines), [lines]);
  const range = useMemo(() => rangeOf(lines, measure), [lines, measure]);
  const first = useMemo(() => firstCell(rows), [rows]);
  const [at, setAt] = useState(first);
  const [tip, setTip] = useState<Shown | null>(null);
  const [, navigate] = useLocation();
  // One listener for all cells: they tell which they are by their data.
  const show = (event: PointerEvent | FocusEvent) => {
    const cell = event.target instanceof Element ? event.target.closest("[data-cell]") : null;
    if (!(cell instanceof HTMLElement)) return setTip(null);
    const [row = 0, column = 0] = (cell.dataset.cell ?? "").split(" ").map(Number);
    const line = rows[row]?.cells[column];
    if (event.type === "focus") setAt([row, column]);
    setTip(line ? { line, box: cell.getBoundingClientRect() } : null);
  };
  const onKey = (event: KeyboardEvent<HTMLTableElement>) => {
    if (event.key === "Escape") setTip(null);
    const next = nextCell(rows, at, event.key);
    if (!next) return;
    event.preventDefault();
    setAt(next);
    event.currentTarget.querySelector<HTMLElement>(`[data-cell="${next.join(" ")}"]`)?.focus();
  };
  const onClick = (event: React.MouseEvent) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    navigate(link.getAttribute("href") ?? "/");
  };
  const spot = rows[at[0]]?.cells[at[1]] ? at : first;
  return (
    <div className="heat-map" onScroll={() => setTip(null)}>
      <table
        aria-label={`${measure.title} by layer, position and width`}
        onPointerOver={show}
        onPointerLeave={() => setTip(null)}
        onFocus={show}
        onBlur={() => setTip(null)}
        onKeyDown={onKey}
        onClick={onClick}
      >
        <thead>
          <tr>
            <th scope="col" className="heat-corner">
              Position
            </th>
            <th scope="col" className="heat-corner heat-width">
              Width
            </th>
            {layers.map((layer) => (
              <th scope="col" key={layer ?? "none"} className="heat-layer">
                <span className="off-screen">layer </span>
                {layer ?? "–"}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, i) => (
            <HeatRow
              key={row.key}
              row={row}
              number={i}
              newPosition={row.position !== rows[i - 1]?.position}
              measure={measure}
              range={range}
              reachable={spot[0] === i ? spot[1] : null}
            />
          ))}
        </tbody>
      </table>
      {tip && <CellTip line={tip.line} box={tip.box} measure={measure} />}
    </div>
  );
}

function firstCell(rows: ReturnType<typeof layOut>["rows"]): [number, number] {
  return [0, Math.max(0, rows[0]?.cells.findIndex((cell) => cell !== null) ?? 0)];
}
