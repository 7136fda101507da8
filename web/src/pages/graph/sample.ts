import type { NodeColumns } from "./columns";

/** Nodes for tests, at (row, position) with what they add. */
export function columnsOf(
  nodes: readonly (readonly [row: number, position: number | null, adds: number])[],
): NodeColumns {
  const of = <T>(value: (i: number) => T) => nodes.map((_, i) => value(i));
  return {
    place: of((i) => i),
    id: of((i) => `n${i}`),
    kind: of(() => "feature"),
    row: nodes.map(([row]) => row),
    position: nodes.map(([, position]) => position),
    latent: of((i) => i),
    site: nodes.map(([row]) => (row === 0 ? null : `mlp_out@${row}`)),
    attribution: nodes.map(([, , adds]) => adds),
    activation: of(() => 1),
    influence: of(() => 0.5),
    label: of(() => null),
    label_known: of(() => false),
    dictionary: of(() => null),
    tests: of(() => 0),
  };
}
