import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Schemas } from "../api/client";
import { number, short } from "./format";
import { useTheme } from "./useTheme";
import { useWidth } from "./useWidth";
import "./LineChart.css";

interface Props {
  lines: Schemas["Line"][];
  xLabel: string;
  yLabel: string;
  logY?: boolean;
  height?: number;
}

/** Curves with their values under the pointer; drag to zoom in, double-click to see all. */
export function LineChart({ lines, xLabel, yLabel, logY = false, height = 240 }: Props) {
  const [box, width] = useWidth<HTMLDivElement>();
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(lines);
  const { theme } = useTheme();
  const names = lines.map(({ name }) => name).join("\n");
  useEffect(() => {
    latest.current = lines;
    plot.current?.setData(aligned(lines, logY));
  }, [lines, logY]);
  useEffect(() => {
    if (!place.current) return;
    const options = optionsOf(names ? names.split("\n") : [], { xLabel, yLabel, logY, height });
    const made = new uPlot(
      { ...options, width: place.current.clientWidth || 420 },
      aligned(latest.current, logY),
      place.current,
    );
    plot.current = made;
    return () => {
      plot.current = null;
      made.destroy();
    };
    // Colours are read from the theme, so the chart is made anew when it changes.
  }, [names, xLabel, yLabel, logY, height, theme]);
  useEffect(() => {
    plot.current?.setSize({ width, height });
  }, [width, height]);
  return (
    <div className="line-chart" ref={box} role="group" aria-label={`${yLabel} by ${xLabel}`}>
      <div ref={place} aria-hidden="true" />
      <ul className="off-screen">
        {lines.map((line) => (
          <li key={line.name}>{summary(line)}</li>
        ))}
      </ul>
    </div>
  );
}

function summary({ name, x, y }: Schemas["Line"]): string {
  const values = y.filter((value) => value !== null);
  const ends = [values[0], values.at(-1)].map((value) => number(value));
  return `${name}: ${ends[0]} at ${number(x[0])}, ${ends[1]} at ${number(x.at(-1))}`;
}

/** All lines over the same x; what cannot be drawn on a logarithmic axis is left out. */
function aligned(lines: Schemas["Line"][], logY: boolean): uPlot.AlignedData {
  if (lines.length === 0) return [[]];
  return uPlot.join(
    lines.map(
      ({ x, y }): uPlot.AlignedData => [
        x,
        logY ? y.map((value) => (value !== null && value > 0 ? value : null)) : y,
      ],
    ),
  );
}

type Given = Required<Omit<Props, "lines">>;

function optionsOf(names: string[], { xLabel, yLabel, logY, height }: Given) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(name).trim() || "#888";
  const axis = (label: string, size: number): uPlot.Axis => ({
    label,
    size,
    labelSize: 20,
    font: "11px system-ui, sans-serif",
    labelFont: "12px system-ui, sans-serif",
    stroke: colour("--muted"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1, size: 4 },
    values: (_, splits) => splits.map((value) => (value === null ? "" : axisNumber(value))),
  });
  return {
    height,
    scales: { x: { time: false }, y: { distr: logY ? 3 : 1 } },
    axes: [axis(xLabel, 32), axis(yLabel, 52)],
    cursor: { points: { size: 6 }, y: false },
    legend: { live: true },
    series: [
      { label: xLabel, value: (plot, value, _, at) => short(value ?? lastOf(plot, 0, at)) },
      ...names.map(
        (label, i): uPlot.Series => ({
          label,
          stroke: colour(`--series-${(i % 6) + 1}`),
          width: 1.5,
          // A seventh line takes the first colour again, and is told apart by its dashes.
          ...(i >= 6 ? { dash: [6, 3 + Math.floor(i / 6) * 2] } : {}),
          spanGaps: true,
          points: { show: false },
          value: (plot, value, n, at) => number(value ?? lastOf(plot, n, at), 4),
        }),
      ),
    ],
  } satisfies Omit<uPlot.Options, "width">;
}

/** What the legend shows while the pointer is elsewhere: where the line ends. */
function lastOf(plot: uPlot, line: number, at: number | null | undefined): number | null {
  if (typeof at === "number") return null; // the pointer is where this line has no value
  const values: ArrayLike<number | null | undefined> = plot.data[line] ?? [];
  return Array.from(values).findLast((value) => typeof value === "number") ?? null;
}

const axisNumber = (value: number) =>
  Math.abs(value) >= 1e4 ? short(value).replace(" ", "") : String(Number(value.toPrecision(4)));
