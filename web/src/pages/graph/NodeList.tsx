import { useMemo, useState } from "react";
import { count, number, share as percent } from "../../ui/format";
import { VirtualList } from "../../ui/VirtualList";
import { KINDS, nodeAddress, tokenText } from "./columns";
import type { Shown } from "./useShown";

interface Props {
  shown: Shown;
  /** What the search found; null: nothing is searched for. */
  found: readonly number[] | null;
  focus: number | null;
  pinned: ReadonlySet<number>;
  onFocus: (i: number) => void;
}

type Order = "adds" | "influence" | "position" | "activation";
const ORDERS: Record<Order, string> = {
  adds: "what they add",
  influence: "influence",
  position: "token, then layer",
  activation: "activation",
};

/** The graph as a list: the same nodes, for keyboards and screen readers, and to read figures. */
export function NodeList({ shown, found, focus, pinned, onFocus }: Props) {
  const [order, setOrder] = useState<Order>("adds");
  const [kind, setKind] = useState("");
  const { nodes, page } = shown;
  const rows = useMemo(() => {
    const value = (i: number) =>
      ({
        adds: -Math.abs(nodes.attribution[i] ?? 0),
        influence: nodes.influence[i] ?? 1,
        position: (nodes.position[i] ?? 0) * 10_000 + (nodes.row[i] ?? 0),
        activation: -(nodes.activation[i] ?? -1),
      })[order];
    return (found ?? shown.ordered)
      .filter((i) => kind === "" || nodes.kind[i] === kind)
      .toSorted((a, b) => value(a) - value(b));
  }, [nodes, shown.ordered, found, order, kind]);
  const kinds = [...new Set(nodes.kind)].filter((one) => one !== "target");
  const most = Math.max(...rows.map((i) => Math.abs(nodes.attribution[i] ?? 0)), 0) || 1;
  return (
    <div className="node-list">
      <p className="list-tools">
        <label>
          Order{" "}
          <select value={order} onChange={(event) => setOrder(event.target.value as Order)}>
            {Object.entries(ORDERS).map(([id, title]) => (
              <option key={id} value={id}>
                {title}
              </option>
            ))}
          </select>
        </label>
        <label>
          Kind{" "}
          <select value={kind} onChange={(event) => setKind(event.target.value)}>
            <option value="">all</option>
            {kinds.map((one) => (
              <option key={one} value={one}>
                {KINDS[one]?.many ?? one}
              </option>
            ))}
          </select>
        </label>
        <span className="muted" role="status">
          {count(rows.length)} of {count(page.n_nodes_all)} nodes
        </span>
      </p>
      <VirtualList
        label="Nodes of the graph"
        key={`${order} ${kind} ${page.share} ${nodes.id.length} ${found?.join(" ") ?? ""}`}
        total={rows.length}
        rowHeight={34}
        height="24rem"
        load={(offset, limit) => Promise.resolve(rows.slice(offset, offset + limit))}
        onActivate={(i) => onFocus(i)}
        renderRow={(i) => (
          <div className={i === focus ? "node-row focused" : "node-row"}>
            <i className={`sign ${nodes.kind[i]}`} aria-hidden="true" />
            <button type="button" className="plain node-name" onClick={() => onFocus(i)}>
              <span className="off-screen">{KINDS[nodes.kind[i] ?? ""]?.one} </span>
              <bdi>{shown.nameOf(i)}</bdi>
            </button>
            <bdi className="mono muted node-at">
              {nodes.kind[i] === "feature" && nodes.label_known[i] ? nodeAddress(nodes, i) : ""}
            </bdi>
            <bdi className="mono muted node-token">
              {tokenText(page.meta.tokens[nodes.position[i] ?? -1]?.text)} @{nodes.position[i]}
            </bdi>
            <span className="node-bar">
              <i
                className={(nodes.attribution[i] ?? 0) < 0 ? "lowers" : "raises"}
                style={{ width: `${(100 * Math.abs(nodes.attribution[i] ?? 0)) / most}%` }}
              />
            </span>
            <span className="number" title="What it adds to the target">
              {number(nodes.attribution[i])}
            </span>
            <span className="number muted" title="Activation">
              {nodes.activation[i] === null ? "" : number(nodes.activation[i])}
            </span>
            <span className="number muted" title="Influence: it and all above it">
              {percent(nodes.influence[i])}
            </span>
            <span className="node-state muted">
              {pinned.has(i) && "pinned "}
              {nodes.kind[i] === "feature" && ((nodes.tests[i] ?? 0) > 0 ? "tested" : "untested")}
            </span>
          </div>
        )}
      />
    </div>
  );
}
