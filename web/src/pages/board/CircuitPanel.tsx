import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { number } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { Failed, Loading } from "../../ui/states";
import { KINDS, nodeName } from "../graph/columns";
import { type At, FIRST_LINKS, graphQuery } from "../graph/graphQuery";
import { signed, strongest } from "./circuit";
import { squareOf } from "./game";
import { squareSaid } from "./labels";

const MOST = 14;
/** Kinds that the names of their nodes do not tell. */
const NAMED_APART = new Set(["feature", "token"]);

/** The circuit of a square's logit, or null until it is here. */
export const useCircuit = (at: At | null) =>
  useQuery({ ...graphQuery(at ?? { run: "", name: "" }, 1, FIRST_LINKS), enabled: at !== null });

interface Props {
  at: At;
  circuit: ReturnType<typeof useCircuit>;
  size: number;
  onSpeak: (squares: readonly number[]) => void;
  onClose: () => void;
}

/** What a square's logit comes from, in short; the whole graph has a page of its own. */
export function CircuitPanel({ at, circuit, size, onSpeak, onClose }: Props) {
  const graph = circuit.data;
  const address = `/graphs/${encodeURIComponent(at.run)}/${encodeURIComponent(at.name)}`;
  return (
    <Panel
      title="Circuit"
      info="What the logit is the sum of: tokens of moves, features, and what dictionaries leave over. Figures are parts of the logit; those on the board are what the tokens of moves add."
      actions={
        <>
          <Link className="button" href={address}>
            Open the graph
          </Link>{" "}
          <button type="button" onClick={onClose} aria-label="Close the circuit">
            ✕
          </button>
        </>
      }
    >
      {circuit.error ? (
        <Failed error={circuit.error} retry={() => void circuit.refetch()} />
      ) : !graph ? (
        <Loading what="the circuit" />
      ) : (
        <>
          <p className="muted">
            <bdi>{graph.meta.target}</bdi> <strong>{number(graph.meta.value, 3)}</strong> after{" "}
            {graph.meta.tokens.length} moves · {graph.n_nodes_all} nodes
          </p>
          <ul
            className="circuit-rows"
            aria-label="Strongest nodes of the circuit"
            onMouseLeave={() => onSpeak([])}
          >
            {strongest(graph, MOST).map((i) => (
              <CircuitRow
                key={graph.nodes.id[i]}
                graph={graph}
                i={i}
                size={size}
                address={address}
                onSpeak={onSpeak}
              />
            ))}
          </ul>
        </>
      )}
    </Panel>
  );
}

interface RowProps {
  graph: Schemas["GraphPage"];
  i: number;
  size: number;
  address: string;
  onSpeak: (squares: readonly number[]) => void;
}

function CircuitRow({ graph, i, size, address, onSpeak }: RowProps) {
  const { nodes, meta } = graph;
  const texts = meta.tokens.map(({ text }) => text.trim());
  const kind = nodes.kind[i] ?? "";
  const position = nodes.position[i] ?? null;
  const own = kind === "token" ? squareOf(texts[position ?? -1] ?? null, size) : null;
  const label = nodes.label[i] ?? null;
  const told = label === null ? null : squareSaid(label, size);
  const squares = [own, told].filter((square) => square !== null);
  const id = nodes.id[i] ?? "";
  return (
    <li
      onFocus={() => onSpeak(squares)}
      onBlur={() => onSpeak([])}
      onMouseEnter={() => onSpeak(squares)}
    >
      <span className="number circuit-value">{signed(nodes.attribution[i] ?? 0)}</span>
      <Link href={`${address}?focus=${encodeURIComponent(id)}`}>
        {NAMED_APART.has(kind) && <span className="muted">{KINDS[kind]?.one} </span>}
        <bdi>{nodeName(nodes, i, texts, meta.target)}</bdi>
      </Link>
      <span className="muted">
        {label !== null && nodes.site[i]}{" "}
        {position !== null && kind !== "position" && `at move ${position + 1}`}
      </span>
    </li>
  );
}
