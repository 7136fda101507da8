/** Nodes of two graphs: which are shown, where they stand, and what they are called. */
import type { Schemas } from "../../api/client";
import { KINDS, tokenText } from "./columns";

export type ComparedColumns = Schemas["ComparedColumns"];
export type Filter = "all" | "shared" | "a" | "b";

/** Indices of the nodes that are shown, largest difference first as they come. */
export function rowsOf(
  nodes: Pick<ComparedColumns, "key" | "kind" | "a" | "b">,
  filter: Filter,
  kind: string,
): number[] {
  const fits = (i: number) => {
    const [inA, inB] = [nodes.a[i] !== null, nodes.b[i] !== null];
    const side = { all: true, shared: inA && inB, a: inA && !inB, b: inB && !inA }[filter];
    return side && (kind === "" || nodes.kind[i] === kind);
  };
  return nodes.key.map((_, i) => i).filter(fits);
}

/** A signed root: large and small ones both have room, and zero stays where it is. */
export const rooted = (value: number) => Math.sign(value) * Math.sqrt(Math.abs(value));

export type Texts = readonly [readonly string[], readonly string[]];

/** What a node of both is called; tokens by their text in the graph where they stand. */
export function comparedName(
  nodes: Pick<ComparedColumns, "key" | "kind" | "site" | "latent" | "label" | "ids_a" | "ids_b">,
  i: number,
  texts: Texts,
): string {
  const [kind = "", site, latent] = [nodes.kind[i], nodes.site[i], nodes.latent[i]];
  if (nodes.label[i]) return nodes.label[i] ?? "";
  if (kind === "feature" && latent !== null) return `${site}/${latent}`;
  if (kind === "error" || kind === "leaf") return `${KINDS[kind]?.one ?? kind} of ${site ?? ""}`;
  const [own, other] = [nodes.ids_a[i]?.[0], nodes.ids_b[i]?.[0]];
  const [id, which] = own ? [own, texts[0]] : [other ?? "", texts[1]];
  const text = which[Number(id.split("@").at(-1))];
  return kind === "token" && text !== undefined ? tokenText(text) : (nodes.key[i] ?? "");
}
