import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { number } from "../../ui/format";
import { VirtualList } from "../../ui/VirtualList";
import { comparedName, type Texts } from "./compared";
import { graphAddress } from "./GraphsPage";

interface Props {
  found: Schemas["GraphsCompared"];
  rows: readonly number[];
  texts: Texts;
}

/** Nodes of both with what they add to either, largest difference first. */
export function ComparedList({ found, rows, texts }: Props) {
  const { nodes, a, b } = found;
  const most =
    rows.reduce((m, i) => Math.max(m, Math.abs(nodes.a[i] ?? 0), Math.abs(nodes.b[i] ?? 0)), 0) ||
    1;
  const bar = (value: number | null | undefined, side: "a" | "b") => (
    <span className={`twin-bar ${side}`}>
      <i
        className={(value ?? 0) < 0 ? "lowers" : "raises"}
        style={{ width: `${(50 * Math.abs(value ?? 0)) / most}%` }}
      />
      <span className="number">{value === null ? "–" : number(value)}</span>
    </span>
  );
  return (
    <VirtualList
      label="Nodes of both graphs"
      key={`${rows.length} ${rows[0]} ${rows.at(-1)}`}
      total={rows.length}
      rowHeight={34}
      height="26rem"
      load={(offset, limit) => Promise.resolve(rows.slice(offset, offset + limit))}
      renderRow={(i) => {
        const own = nodes.ids_a[i]?.[0];
        const other = nodes.ids_b[i]?.[0];
        const to = own ? { line: a, id: own } : other ? { line: b, id: other } : null;
        return (
          <div className="compared-row">
            <i className={`sign ${nodes.kind[i]}`} aria-hidden="true" />
            {to ? (
              <Link
                href={`${graphAddress(to.line)}?focus=${encodeURIComponent(to.id)}&share=1`}
                className="feature-link"
              >
                <bdi>{comparedName(nodes, i, texts)}</bdi>
              </Link>
            ) : (
              <bdi>{comparedName(nodes, i, texts)}</bdi>
            )}
            {bar(nodes.a[i], "a")}
            {bar(nodes.b[i], "b")}
          </div>
        );
      }}
    />
  );
}
