import { useMemo } from "react";
import {
  byAttribution,
  clippedName,
  indexOf,
  type LinkColumns,
  type NodeColumns,
  nodeName,
} from "./columns";
import { type Layout, layoutOf } from "./layout";
import type { GraphPage } from "./useGraph";

/** A page of a graph with what is worked out of it once. */
export interface Shown {
  page: GraphPage;
  nodes: NodeColumns;
  links: LinkColumns;
  layout: Layout;
  /** Index of a node by its id, and by its place in the whole graph. */
  byId: ReadonlyMap<string, number>;
  byPlace: ReadonlyMap<number, number>;
  /** From the one that adds or takes most, the target left out. */
  ordered: readonly number[];
  nameOf: (i: number) => string;
  /** The same for the drawing, where the row says the site. */
  shortName: (i: number) => string;
}

export function useShown(page: GraphPage | undefined): Shown | null {
  return useMemo(() => {
    if (!page) return null;
    const { nodes, links, meta } = page;
    const texts = meta.tokens.map(({ text }) => text);
    const nameOf = (i: number) => nodeName(nodes, i, texts, meta.target);
    return {
      page,
      nodes,
      links,
      layout: layoutOf(nodes, meta.tokens.length),
      byId: indexOf(nodes),
      byPlace: new Map(nodes.place.map((place, i) => [place, i])),
      ordered: byAttribution(nodes),
      nameOf,
      shortName: (i) => clippedName(nodes, i, nameOf),
    };
  }, [page]);
}
