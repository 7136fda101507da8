import { scaleLinear, scaleSymlog } from "d3-scale";
import { useState } from "react";
import type { Schemas } from "../api/client";
import { placeOfValue, ticks, valueAt } from "./bins";
import { count, number, rounded, short } from "./format";
import { useWidth } from "./useWidth";
import "./Histogram.css";

interface Props {
  histogram: Schemas["Histogram"];
  xLabel: string;
  yLabel: string;
  /** A plain value (not its logarithm) that is marked with a line. */
  marker?: number | { value: number; label: string };
  height?: number;
  /** Counts on a logarithmic axis, where a few bins hold nearly all. */
  logY?: boolean;
}

const LEFT = 48;
const BOTTOM = 20;
const TOP = 22;

/** Bars of counts with values on hovering; the same as a table for screen readers. */
export function Histogram({ histogram, xLabel, yLabel, marker, height = 190, logY }: Props) {
  const [box, width] = useWidth<HTMLDivElement>();
  const [over, setOver] = useState<number | null>(null);
  const { edges, counts } = histogram;
  const most = Math.max(1, ...counts);
  const inner = width - LEFT - 8;
  const x = (place: number) => LEFT + (place / Math.max(1, counts.length)) * inner;
  const y = (
    logY ? scaleSymlog().domain([0, most]) : scaleLinear().domain([0, most]).nice(4)
  ).range([height - BOTTOM, TOP]);
  const marked = typeof marker === "number" ? { value: marker, label: number(marker) } : marker;
  const markedAt = marked ? placeOfValue(histogram, marked.value) : null;
  const value = (i: number) => rounded(valueAt(histogram, edges[i] ?? NaN));
  const onMove = (event: React.PointerEvent<SVGSVGElement>) => {
    const at = event.clientX - event.currentTarget.getBoundingClientRect().left - LEFT;
    const bin = Math.floor((at / inner) * counts.length);
    setOver(bin >= 0 && bin < counts.length ? bin : null);
  };
  return (
    <div className="histogram" ref={box}>
      <svg
        width={width}
        height={height}
        aria-hidden="true"
        onPointerMove={onMove}
        onPointerLeave={() => setOver(null)}
      >
        {yTicks(most, Boolean(logY)).map((tick) => (
          <g key={tick} className="grid">
            <line x1={LEFT} x2={width - 8} y1={y(tick)} y2={y(tick)} />
            <text x={LEFT - 6} y={y(tick)} dy="0.32em" textAnchor="end">
              {short(tick)}
            </text>
          </g>
        ))}
        {counts.map((n, i) => (
          <rect
            key={i}
            className={i === over ? "bar-rect over" : "bar-rect"}
            x={x(i)}
            width={Math.max(1, x(i + 1) - x(i) - 1)}
            y={n > 0 ? Math.min(y(n), y(0) - 1) : y(0)}
            height={n > 0 ? Math.max(1, y(0) - y(n)) : 0}
          />
        ))}
        <line className="axis" x1={LEFT} x2={width - 8} y1={y(0)} y2={y(0)} />
        {ticks(histogram, Math.max(3, inner / 70)).map(({ place, text }) => (
          <text key={place} x={x(place)} y={height - 5} textAnchor="middle">
            {text}
          </text>
        ))}
        <text x={2} y={11}>
          {yLabel}
        </text>
        {marked && markedAt !== null && (
          <g className="marker">
            <line x1={x(markedAt)} x2={x(markedAt)} y1={TOP} y2={y(0)} />
            <text
              x={x(markedAt) + (markedAt > counts.length / 2 ? -5 : 5)}
              y={TOP + 2}
              dy="0.5em"
              textAnchor={markedAt > counts.length / 2 ? "end" : "start"}
            >
              {marked.label}
            </text>
          </g>
        )}
      </svg>
      <p className="reading" aria-hidden="true">
        {over === null ? (
          <span className="muted">{xLabel}</span>
        ) : (
          <>
            {value(over)} to {value(over + 1)}: <strong>{count(counts[over])}</strong> {yLabel}
          </>
        )}
      </p>
      <div className="off-screen">
        <table>
          <caption>
            {yLabel} by {xLabel}
            {marked ? `; marked: ${marked.label}` : ""}
          </caption>
          <thead>
            <tr>
              <th scope="col">from</th>
              <th scope="col">to</th>
              <th scope="col">{yLabel}</th>
            </tr>
          </thead>
          <tbody>
            {counts.map((n, i) => (
              <tr key={i}>
                <td>{value(i)}</td>
                <td>{value(i + 1)}</td>
                <td>{n}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

/** Round counts, or powers of ten. */
function yTicks(most: number, logarithmic: boolean): number[] {
  if (!logarithmic)
    return scaleLinear().domain([0, most]).nice(4).ticks(4).filter(Number.isInteger);
  const powers = Array.from({ length: Math.floor(Math.log10(most)) + 1 }, (_, i) => 10 ** i);
  const every = Math.ceil(powers.length / 4);
  return [0, ...powers.filter((_, i) => (powers.length - 1 - i) % every === 0)];
}
