/** What a square's logit comes from: the part of its graph that is shown beside the board. */
import type { Schemas } from "../../api/client";
import { number } from "../../ui/format";
import { squareOf } from "./game";

type Graph = Pick<Schemas["GraphPage"], "nodes" | "meta">;

/** What each earlier move adds to the target by its token, by its square. */
export function sharesByMove(graph: Graph, size: number): Map<number, string> {
  const sums = new Map<number, number>();
  const { kind, position, attribution } = graph.nodes;
  kind.forEach((one, i) => {
    if (one !== "token") return;
    const square = squareOf(graph.meta.tokens[position[i] ?? -1]?.text.trim() ?? null, size);
    if (square !== null) sums.set(square, (sums.get(square) ?? 0) + (attribution[i] ?? 0));
  });
  return new Map([...sums].map(([square, sum]) => [square, signed(sum)]));
}

/** Nodes with the largest share of the target, the target left out. */
export function strongest(graph: Graph, n: number): number[] {
  const { kind, attribution } = graph.nodes;
  return kind
    .flatMap((one, i) => (one === "target" ? [] : [i]))
    .sort((a, b) => Math.abs(attribution[b] ?? 0) - Math.abs(attribution[a] ?? 0))
    .slice(0, n);
}

export const signed = (x: number) => (x > 0 ? `+${number(x, 2)}` : number(x, 2));
