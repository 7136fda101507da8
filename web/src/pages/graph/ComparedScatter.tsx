import { number } from "../../ui/format";
import { type ComparedColumns, comparedName, rooted, type Texts } from "./compared";

const SIZE = 340;
const EDGE = 26;

/** What each node adds to A, and to B; on the diagonal it adds the same. */
export function ComparedScatter({
  nodes,
  rows,
  texts,
}: {
  nodes: ComparedColumns;
  rows: readonly number[];
  texts: Texts;
}) {
  const most = rows.reduce(
    (m, i) => Math.max(m, Math.abs(nodes.a[i] ?? 0), Math.abs(nodes.b[i] ?? 0)),
    0,
  );
  const full = rooted(most) || 1;
  const at = (value: number | null | undefined) =>
    EDGE + ((rooted(value ?? 0) / full + 1) / 2) * (SIZE - 2 * EDGE);
  const middle = SIZE / 2;
  return (
    <figure className="scatter">
      <svg
        viewBox={`0 0 ${SIZE} ${SIZE}`}
        width={SIZE}
        height={SIZE}
        role="img"
        aria-label="What each node adds to the first target (to the right) and to the second (upwards); the list beside it holds the same."
      >
        <rect x={EDGE} y={EDGE} width={SIZE - 2 * EDGE} height={SIZE - 2 * EDGE} />
        <line className="diagonal" x1={EDGE} y1={SIZE - EDGE} x2={SIZE - EDGE} y2={EDGE} />
        <line x1={EDGE} y1={middle} x2={SIZE - EDGE} y2={middle} />
        <line x1={middle} y1={EDGE} x2={middle} y2={SIZE - EDGE} />
        {rows.toReversed().map((i) => (
          <circle
            key={nodes.key[i]}
            cx={at(nodes.a[i])}
            cy={SIZE - at(nodes.b[i])}
            r={3.6}
            className={nodes.a[i] === null ? "b" : nodes.b[i] === null ? "a" : "shared"}
          >
            <title>{`${comparedName(nodes, i, texts)}: ${number(nodes.a[i])} in A, ${number(nodes.b[i])} in B`}</title>
          </circle>
        ))}
        <text x={SIZE - EDGE} y={SIZE - 8} textAnchor="end">
          adds to A → {number(most, 2)}
        </text>
        <text x={EDGE} y={16}>
          ↑ adds to B, {number(most, 2)}
        </text>
      </svg>
      <figcaption className="muted small-print">
        Axes grow with the root of what is added. On the diagonal a node adds the same to both; on
        an axis it stands in one graph alone.
      </figcaption>
    </figure>
  );
}
