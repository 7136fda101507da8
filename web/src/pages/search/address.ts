/** What a search asks, as it stands in the address, so that every result can be sent as a link. */

export const KINDS = ["label", "token", "text", "near"] as const;
export type Kind = (typeof KINDS)[number];

export interface Asked {
  kind: Kind;
  query: string;
  /** Ids; empty: all that can be asked. */
  dictionaries: string[];
}

/** A text longer than this is kept beside the address: servers and programs cut long ones. */
const LONGEST_IN_ADDRESS = 4000;

/** `kept` is the history entry's own state, where a long text is. */
export function readAsked(search: URLSearchParams, kept: unknown = null): Asked {
  const kind = search.get("kind");
  const text = (kept as { text?: unknown } | null)?.text;
  return {
    kind: KINDS.find((one) => one === kind) ?? "label",
    query: search.get("q") ?? (typeof text === "string" ? text : ""),
    dictionaries: search.getAll("dictionary"),
  };
}

export function writeAsked({ kind, query, dictionaries }: Asked): { to: string; state: unknown } {
  const search = new URLSearchParams();
  if (kind !== "label") search.set("kind", kind);
  const fits = query.length <= LONGEST_IN_ADDRESS;
  if (query && fits) search.set("q", query);
  for (const id of dictionaries) search.append("dictionary", id);
  const text = search.toString();
  return { to: text ? `/search?${text}` : "/search", state: fits ? null : { text: query } };
}

/** A feature as a search for its neighbours takes it, apart. */
export function splitFeature(query: string): { dictionary: string; latent: string } {
  const at = query.lastIndexOf("/");
  if (at < 0) return { dictionary: "", latent: query.trim() };
  return { dictionary: query.slice(0, at).trim(), latent: query.slice(at + 1).trim() };
}
