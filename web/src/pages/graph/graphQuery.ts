/** The question for a graph, apart from its page so that it can be asked while the page's code is on its way. */
import { keepPreviousData, type QueryClient, queryOptions } from "@tanstack/react-query";
import { client, data, type Schemas } from "../../api/client";

export type GraphPage = Schemas["GraphPage"];
export interface At {
  run: string;
  name: string;
}

/** All of it: the slider takes away, so that nobody misses what was never shown. */
export const FIRST_SHARE = 1;
export const FIRST_LINKS = 3000;

/** Nodes shown carry this share of the influence; as an address has it. */
export function shareOf(search: URLSearchParams): number {
  const share = Number(search.get("share") ?? FIRST_SHARE);
  return share >= 0 && share <= 1 ? share : FIRST_SHARE;
}

export const graphKey = ({ run, name }: At) => ["graph", run, name] as const;

/** The part of a graph that carries a share of the influence; the one before stays until it is here. */
export const graphQuery = (at: At, share: number, links: number) =>
  queryOptions({
    queryKey: [...graphKey(at), "page", share, links],
    queryFn: ({ signal }) =>
      data<GraphPage>(
        client.GET("/api/graphs/{run}/{name}", {
          params: { path: { ...at }, query: { share, links } },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
    staleTime: Infinity,
    gcTime: 60_000,
  });

/** Asks for what the page of a graph will show first. */
export function askForGraph(queries: QueryClient, at: At) {
  const share = shareOf(new URLSearchParams(window.location.search));
  void queries.prefetchQuery(graphQuery(at, share, FIRST_LINKS));
}
