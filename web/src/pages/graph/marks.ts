/** What stands out in the drawing: nodes by what a person focused, found, pinned, selected or grouped. */
import type { LinkColumns, NodeColumns } from "./columns";
import type { Group } from "./edits";

type Index = ReadonlyMap<string, number>;

/** Where nodes stand in the columns; those that are not shown are left out. */
export const indicesOf = (ids: readonly string[], byId: Index): ReadonlySet<number> =>
  new Set(ids.flatMap((id) => byId.get(id) ?? []));

/** The focused node with all that it is linked with, else what was found; null when nothing is to stand out. */
export function litBy(
  focus: number | null,
  links: LinkColumns | null,
  found: readonly number[] | null,
): ReadonlySet<number> | null {
  if (focus !== null) return new Set([focus, ...(links?.source ?? []), ...(links?.goal ?? [])]);
  return found === null ? null : new Set(found);
}

/** Which group, by its place in the list, each grouped node is in. */
export const groupOfEach = (groups: readonly Group[], byId: Index): ReadonlyMap<number, number> =>
  new Map(groups.flatMap(({ ids }, n) => [...indicesOf(ids, byId)].map((i) => [i, n] as const)));

/** Nodes that bear their name, the most important first. */
export function namedFirst(
  nodes: NodeColumns,
  byId: Index,
  ordered: readonly number[],
  marks: {
    focus: number | null;
    lit: ReadonlySet<number> | null;
    pinned: ReadonlySet<number>;
  },
): number[] {
  const { focus, lit, pinned } = marks;
  if (lit) {
    // Tokens and positions have their names on the axes.
    const worth = (i: number) => nodes.kind[i] !== "token" && nodes.kind[i] !== "position";
    const near = ordered.filter((i) => lit.has(i) && worth(i));
    return focus === null ? near : [focus, ...near.filter((i) => i !== focus)];
  }
  const target = byId.get("target");
  const features = ordered.filter((i) => nodes.kind[i] === "feature");
  return [...(target === undefined ? [] : [target]), ...pinned, ...features];
}

/** How many of them there is room for when something stands out, and when nothing does. */
const NAMES_LIT = 60;
const NAMES = { least: 16, most: 80 };

/** Numbers of latents tell little, so a few will do where nobody asked for one; words tell more. */
export function howManyNames(
  nodes: NodeColumns,
  named: readonly number[],
  marks: { lit: ReadonlySet<number> | null; pinned: ReadonlySet<number> },
): number {
  if (marks.lit !== null) return NAMES_LIT;
  const known = named.filter((i) => nodes.label_known[i]).length;
  return Math.min(NAMES.most, NAMES.least + marks.pinned.size + known);
}

/** Chosen ones that are there already go, the others come. */
export function toggled(before: readonly string[], ids: readonly string[]): string[] {
  const there = new Set(before);
  return [...before.filter((id) => !ids.includes(id)), ...ids.filter((id) => !there.has(id))];
}
