/** The nodes and links of a graph as they come: columns of equal length. */
import { visible } from "../../ui/glyphs";

export interface NodeColumns {
  readonly place: readonly number[];
  readonly id: readonly string[];
  readonly kind: readonly string[];
  readonly row: readonly number[];
  readonly position: readonly (number | null)[];
  readonly latent: readonly (number | null)[];
  readonly site: readonly (string | null)[];
  readonly attribution: readonly number[];
  readonly activation: readonly (number | null)[];
  readonly influence: readonly number[];
  readonly label: readonly (string | null)[];
  readonly label_known: readonly boolean[];
  readonly dictionary: readonly (string | null)[];
  readonly tests: readonly number[];
}

export interface LinkColumns {
  readonly source: readonly number[];
  readonly goal: readonly number[];
  readonly flow: readonly number[];
}

/** What a kind of node is called. */
export const KINDS: Record<string, { one: string; many: string; means: string }> = {
  target: { one: "target", many: "target", means: "What was traced." },
  feature: {
    one: "feature",
    many: "features",
    means: "A latent of a dictionary that fires here and adds to the target.",
  },
  token: { one: "token", many: "tokens", means: "The embedding of a token of the prompt." },
  position: { one: "position", many: "positions", means: "The embedding of a position." },
  error: {
    one: "error",
    many: "errors",
    means: "What a dictionary misses of the output that it stands for.",
  },
  leaf: {
    one: "untraced output",
    many: "untraced outputs",
    means: "The output of a layer without a dictionary, not traced further.",
  },
  bias: {
    one: "constant",
    many: "constants",
    means: "A bias of the model or of a dictionary; it is the same for every prompt.",
  },
};

/** Text of a token on one line, its blanks as signs. */
export const tokenText = (text: string | undefined) =>
  visible(text ?? "", { showWhitespace: true, breakLines: false }) || "∅";

/** Where a node stands, e.g. `mlp_out@7/123`; without its position. */
export function nodeAddress(nodes: NodeColumns, i: number): string {
  const [site, latent] = [nodes.site[i], nodes.latent[i]];
  if (latent !== null && latent !== undefined && site) return `${site}/${latent}`;
  if (nodes.kind[i] === "bias") return (nodes.id[i] ?? "").replace(/^bias:/, "");
  return site ?? "";
}

/** What a node is called where there is little room. */
export function nodeName(
  nodes: NodeColumns,
  i: number,
  texts: readonly string[],
  target: string,
): string {
  const kind = nodes.kind[i] ?? "";
  const label = nodes.label[i];
  if (kind === "target") return target;
  if (kind === "token") return tokenText(texts[nodes.position[i] ?? -1]);
  if (kind === "position") return `position ${nodes.position[i] ?? ""}`;
  if (kind === "feature" && label && nodes.label_known[i]) return label;
  if (kind === "feature") return nodeAddress(nodes, i);
  if (kind === "bias") return nodeAddress(nodes, i);
  return `${KINDS[kind]?.one ?? kind} of ${nodeAddress(nodes, i)}`;
}

/** Where each node stands in the columns, by its id. */
export function indexOf(nodes: NodeColumns): ReadonlyMap<string, number> {
  return new Map(nodes.id.map((id, i) => [id, i]));
}

/** Nodes from the one that adds or takes most to the one that does least, the target left out. */
export function byAttribution(nodes: NodeColumns): number[] {
  return nodes.id
    .map((_, i) => i)
    .filter((i) => nodes.kind[i] !== "target")
    .sort((a, b) => Math.abs(nodes.attribution[b] ?? 0) - Math.abs(nodes.attribution[a] ?? 0));
}

/** The parts of the name of a site: `mlp_out@7` is `mlp_out 7`. */
export const siteWords = (site: string) => site.replace("@", " ");

/** Nodes whose label, address, token or kind holds all words. */
export function matching(
  nodes: NodeColumns,
  words: string,
  nameOf: (i: number) => string,
): number[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  if (wanted.length === 0) return [];
  return byAttribution(nodes).filter((i) => {
    const text =
      `${nodes.label[i] ?? ""} ${nodeAddress(nodes, i)} ${nodes.kind[i]} ${nameOf(i)} @${nodes.position[i] ?? ""}`.toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
}

/** A name for the drawing, whose rows say the site already. */
export function clippedName(nodes: NodeColumns, i: number, nameOf: (i: number) => string): string {
  const kind = nodes.kind[i];
  if (kind === "feature" && !(nodes.label[i] && nodes.label_known[i])) return `#${nodes.latent[i]}`;
  return kind === "error" || kind === "leaf" ? (KINDS[kind]?.one ?? kind) : nameOf(i);
}
