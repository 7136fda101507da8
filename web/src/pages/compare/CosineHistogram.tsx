import { scaleLinear } from "d3-scale";
import { useState } from "react";
import type { Schemas } from "../../api/client";
import { count, fixed, share } from "../../ui/format";
import { useWidth } from "../../ui/useWidth";
import { shares, within } from "./bars";

type Histogram = Schemas["Histogram"];

interface Props {
  found: Histogram;
  chance: Histogram;
  threshold: number;
}

const HEIGHT = 340;
const LEFT = 44;
const RIGHT = 8;
const BOTTOM = 40;
const TOP = 16;

/** Cosines with the nearest latent as bars, what chance gives as a line over them. */
export function CosineHistogram({ found, chance, threshold }: Props) {
  const [box, width] = useWidth<HTMLElement>();
  const [at, setAt] = useState<number | null>(null);
  const low = Math.min(found.edges[0] ?? 0, chance.edges[0] ?? 0);
  const high = Math.max(found.edges.at(-1) ?? 1, chance.edges.at(-1) ?? 1);
  const heights = shares(found);
  const chances = shares(chance);
  const x = scaleLinear([low, high], [LEFT, width - RIGHT]);
  const y = scaleLinear([0, Math.max(...heights, ...chances, 1e-9)], [HEIGHT - BOTTOM, TOP]).nice(
    4,
  );
  const edge = (i: number) => found.edges[i] ?? low;
  const onMove = (event: React.PointerEvent<SVGSVGElement>) => {
    const value = x.invert(event.clientX - event.currentTarget.getBoundingClientRect().left);
    const after = found.edges.findIndex((one) => one > value);
    setAt(after > 0 ? after - 1 : null);
  };
  const late = threshold > (low + high) / 2;
  return (
    <figure className="cosines" ref={box}>
      <svg
        width={width}
        height={HEIGHT}
        aria-hidden="true"
        onPointerMove={onMove}
        onPointerLeave={() => setAt(null)}
      >
        {y.ticks(4).map((tick) => (
          <g key={tick} transform={`translate(0 ${y(tick)})`}>
            <line x1={LEFT} x2={width - RIGHT} className="gridline" />
            <text x={LEFT - 6} dy="0.32em" textAnchor="end">
              {share(tick)}
            </text>
          </g>
        ))}
        {heights.map((one, i) => (
          <rect
            key={i}
            className={i === at ? "bar-found hovered" : "bar-found"}
            x={x(edge(i)) + 0.5}
            width={Math.max(0.5, x(edge(i + 1)) - x(edge(i)) - 1)}
            y={y(one)}
            height={y(0) - y(one)}
          />
        ))}
        <path className="line-chance" d={steps(chance, chances, x, y)} />
        <line className="threshold" x1={x(threshold)} x2={x(threshold)} y1={TOP} y2={y(0)} />
        <text
          className="threshold-name"
          x={x(threshold) + (late ? -5 : 5)}
          y={TOP + 8}
          textAnchor={late ? "end" : "start"}
        >
          child from {fixed(threshold, 2)}
        </text>
        {x.ticks(Math.max(3, width / 80)).map((tick) => (
          <text key={tick} x={x(tick)} y={HEIGHT - BOTTOM + 16} textAnchor="middle">
            {fixed(tick, 1)}
          </text>
        ))}
        <text x={(LEFT + width) / 2} y={HEIGHT - 6} textAnchor="middle">
          cosine with the nearest latent of the narrow dictionary
        </text>
      </svg>
      <figcaption>
        <span className="key-found">found</span>
        <span className="key-chance">by chance</span>
        {at !== null && (
          <span className="reading">
            {fixed(edge(at), 2)} to {fixed(edge(at + 1), 2)}: {count(found.counts[at])} latents,{" "}
            {share(heights[at])}; by chance {share(within(chance, edge(at), edge(at + 1)))}
          </span>
        )}
      </figcaption>
      <div className="off-screen">
        <table>
          <caption>Cosine of each wide latent with its nearest narrow one, and by chance</caption>
          <thead>
            <tr>
              <th scope="col">cosine</th>
              <th scope="col">latents</th>
              <th scope="col">share by chance</th>
            </tr>
          </thead>
          <tbody>
            {found.counts.map((n, i) => (
              <tr key={i}>
                <th scope="row">
                  {fixed(edge(i), 2)} to {fixed(edge(i + 1), 2)}
                </th>
                <td>{n}</td>
                <td>{share(within(chance, edge(i), edge(i + 1)))}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </figure>
  );
}

function steps(
  { edges }: Histogram,
  heights: number[],
  x: (value: number) => number,
  y: (value: number) => number,
): string {
  const bars = heights.map((one, i) => `V${y(one)}H${x(edges[i + 1] ?? 0)}`);
  return `M${x(edges[0] ?? 0)} ${y(0)}${bars.join("")}V${y(0)}`;
}
