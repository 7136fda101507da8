import {
  keepPreviousData,
  useMutation,
  useQueries,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { client, data, type Schemas } from "../../api/client";
import type { LinkColumns } from "./columns";
import type { Arrangement } from "./edits";
import { type At, graphKey as key, type GraphPage, graphQuery } from "./graphQuery";

export type { At, GraphPage };

/** The part of a graph that carries a share of the influence; the one before stays until it is here. */
export const useGraph = (at: At, share: number, links: number) =>
  useQuery(graphQuery(at, share, links));

const linksQuery = (at: At, node: number, share: number) => ({
  queryKey: [...key(at), "links", node, share],
  queryFn: ({ signal }: { signal: AbortSignal }) =>
    data<Schemas["NodeLinks"]>(
      client.GET("/api/graphs/{run}/{name}/links", {
        params: { path: { ...at }, query: { node, share } },
        signal,
      }),
    ),
  staleTime: Infinity,
});

/** All links of one node among those shown. */
export function useLinks(at: At, node: number | null, share: number) {
  return useQuery({ ...linksQuery(at, node ?? 0, share), enabled: node !== null });
}

/** All links of several nodes; `null` until all are here. */
export function useLinksOfAll(at: At, places: readonly number[], share: number) {
  return useQueries({
    queries: places.map((place) => linksQuery(at, place, share)),
    combine: (found) => ({
      links: found.flatMap((one) => (one.data ? [one.data] : [])),
      waiting: found.some((one) => one.isPending),
      error: found.find((one) => one.error)?.error ?? null,
    }),
  });
}

/** Places of the whole graph as indices into the nodes shown; links to others are left out. */
export function byIndex(links: Schemas["NodeLinks"], index: ReadonlyMap<number, number>) {
  const found = { source: [] as number[], goal: [] as number[], flow: [] as number[] };
  links.flow.forEach((flow, i) => {
    const [source, goal] = [index.get(links.source[i] ?? -1), index.get(links.goal[i] ?? -1)];
    if (source === undefined || goal === undefined) return;
    found.source.push(source);
    found.goal.push(goal);
    found.flow.push(flow);
  });
  return found satisfies LinkColumns;
}

export function useNode(at: At, node: number | null, share: number) {
  return useQuery({
    queryKey: [...key(at), "node", node, share],
    enabled: node !== null,
    queryFn: ({ signal }) =>
      data<Schemas["NodePage"]>(
        client.GET("/api/graphs/{run}/{name}/node", {
          params: { path: { ...at }, query: { node: node ?? 0, share } },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
  });
}

export function useTests(at: At) {
  return useQuery({
    queryKey: [...key(at), "tests"],
    queryFn: ({ signal }) =>
      data<Schemas["ClaimTests"]>(
        client.GET("/api/graphs/{run}/{name}/tests", { params: { path: { ...at } }, signal }),
      ),
  });
}

/** Tries a claim; afterwards all that shows tests is asked for again. */
export function useTry(at: At) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (body: Schemas["ClaimRequest"]) =>
      data<Schemas["ClaimTest"]>(
        client.POST("/api/graphs/{run}/{name}/tests", { params: { path: { ...at } }, body }),
      ),
    onSuccess: (test) => {
      queries.setQueryData<Schemas["ClaimTests"]>([...key(at), "tests"], (before) => ({
        tests: [test, ...(before?.tests ?? []).filter(({ id }) => id !== test.id)],
      }));
      void queries.invalidateQueries({ queryKey: [...key(at), "tests"] });
      void queries.invalidateQueries({ queryKey: [...key(at), "node"] });
    },
  });
}

export function useScores(at: At) {
  return useMutation({
    mutationFn: (body: Schemas["ScoreRequest"]) =>
      data<Schemas["ScorePanel"]>(
        client.POST("/api/graphs/{run}/{name}/scores", { params: { path: { ...at } }, body }),
      ),
  });
}

export function useGroups(at: At) {
  return useMutation({
    mutationFn: (query: { by: Schemas["NodeGroups"]["by"]; share: number; least: number }) =>
      data<Schemas["NodeGroups"]>(
        client.GET("/api/graphs/{run}/{name}/supernodes", { params: { path: { ...at }, query } }),
      ),
  });
}

export function useViews(at: At) {
  const queries = useQueryClient();
  const own = [...key(at), "views"];
  const list = useQuery({
    queryKey: own,
    queryFn: () =>
      data<Schemas["GraphViews"]>(
        client.GET("/api/graphs/{run}/{name}/views", { params: { path: { ...at } } }),
      ),
  });
  const again = () => void queries.invalidateQueries({ queryKey: own });
  const save = useMutation({
    mutationFn: ({ view, arrangement }: { view: string; arrangement: Arrangement }) =>
      data(
        client.PUT("/api/graphs/{run}/{name}/views/{view}", {
          params: { path: { ...at, view } },
          body: viewOf(arrangement),
        }),
      ),
    onSuccess: again,
  });
  const remove = useMutation({
    mutationFn: (view: string) =>
      data(
        client.DELETE("/api/graphs/{run}/{name}/views/{view}", {
          params: { path: { ...at, view } },
        }),
      ),
    onSuccess: again,
  });
  return { list, save, remove };
}

/** What the page keeps, as the server keeps it. */
export function viewOf(arrangement: Arrangement): Schemas["GraphView"] {
  return {
    pinned: [...arrangement.pinned],
    supernodes: arrangement.supernodes.map(({ name, ids }) => ({ name, ids: [...ids] })),
    share: arrangement.share,
    focus: arrangement.focus,
    moved: Object.fromEntries(
      Object.entries(arrangement.moved).map(([id, [x, y]]) => [id, [x, y] as [number, number]]),
    ),
  };
}

/** What the server kept, as the page has it. */
export function arrangementOf(view: Schemas["GraphView"]): Arrangement {
  return {
    pinned: view.pinned ?? [],
    supernodes: view.supernodes ?? [],
    share: view.share ?? 0.8,
    focus: view.focus ?? null,
    moved: Object.fromEntries(
      Object.entries(view.moved ?? {}).map(([id, [x = 0, y = 0]]) => [id, [x, y] as const]),
    ),
  };
}
