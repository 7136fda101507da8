import { useMemo } from "react";
import { type LinkColumns, matching } from "./columns";
import type { Arrangement } from "./edits";
import { groupOfEach, howManyNames, indicesOf, litBy, namedFirst } from "./marks";
import { type At, byIndex, useLinks } from "./useGraph";
import type { Shown } from "./useShown";

/** What the drawing shows of the nodes; all are indices into those that are shown. */
export interface Marks {
  focus: number | null;
  found: readonly number[] | null;
  lit: ReadonlySet<number> | null;
  pinned: ReadonlySet<number>;
  selected: ReadonlySet<number>;
  group: ReadonlyMap<number, number>;
  labelled: readonly number[];
  nLabels: number;
  /** Those of the focused node, or the strongest. */
  links: LinkColumns;
}

interface Chosen {
  arrangement: Arrangement;
  /** What is looked for. */
  words: string;
  selectedIds: readonly string[];
}

export function useMarks(at: At, shown: Shown, chosen: Chosen): Marks {
  const { nodes, byId, byPlace, ordered, nameOf, page } = shown;
  const { arrangement, words, selectedIds } = chosen;
  const found = useMemo(
    () => (words.trim() === "" ? null : matching(nodes, words, nameOf)),
    [nodes, words, nameOf],
  );
  const focus = arrangement.focus === null ? null : (byId.get(arrangement.focus) ?? null);
  const own = useLinks(at, focus === null ? null : (nodes.place[focus] ?? null), page.share);
  const focusLinks = useMemo(
    () => (focus !== null && own.data ? byIndex(own.data, byPlace) : null),
    [focus, own.data, byPlace],
  );
  const lit = useMemo(() => litBy(focus, focusLinks, found), [focus, focusLinks, found]);
  const pinned = useMemo(() => indicesOf(arrangement.pinned, byId), [arrangement.pinned, byId]);
  const selected = useMemo(() => indicesOf(selectedIds, byId), [selectedIds, byId]);
  const group = useMemo(
    () => groupOfEach(arrangement.supernodes, byId),
    [arrangement.supernodes, byId],
  );
  const labelled = useMemo(
    () => namedFirst(nodes, byId, ordered, { focus, lit, pinned }),
    [nodes, byId, ordered, focus, lit, pinned],
  );
  const nLabels = howManyNames(nodes, labelled, { lit, pinned });
  const links = focus === null ? shown.links : (focusLinks ?? NO_LINKS);
  return { focus, found, lit, pinned, selected, group, labelled, nLabels, links };
}

const NO_LINKS = { source: [], goal: [], flow: [] };
