import {
  keepPreviousData,
  useQuery,
  useQueryClient,
  type QueryClient,
} from "@tanstack/react-query";
import { useEffect } from "react";
import { client, data, type Schemas } from "../../api/client";

export const featureKey = (id: string, latent: number, atlas: string | null) =>
  ["feature", id, latent, atlas] as const;

function query(id: string, latent: number, atlas: string | null) {
  return {
    queryKey: featureKey(id, latent, atlas),
    queryFn: () =>
      data<Schemas["FeaturePage"]>(
        client.GET("/api/dictionaries/{dictionary}/features/{latent}", {
          params: { path: { dictionary: id, latent }, query: atlas ? { atlas } : {} },
        }),
      ),
  };
}

/** A feature's page; the one before stays until it is here, and its neighbours are fetched ahead. */
export function useFeature(id: string, latent: number, atlas: string | null) {
  const queries = useQueryClient();
  const page = useQuery({
    ...query(id, latent, atlas),
    enabled: Number.isInteger(latent) && latent >= 0,
    placeholderData: keepPreviousData,
  });
  const { previous, next } = page.data ?? {};
  const here = !page.isPlaceholderData;
  useEffect(() => {
    if (!here) return;
    for (const one of [next, previous])
      if (one !== null && one !== undefined) void queries.prefetchQuery(query(id, one, atlas));
  }, [queries, id, atlas, previous, next, here]);
  return page;
}

/** Puts a note that was kept into what is remembered of the feature, in whichever atlas. */
export function rememberNote(
  queries: QueryClient,
  id: string,
  latent: number,
  note: Schemas["NoteBody"],
) {
  queries.setQueriesData<Schemas["FeaturePage"]>({ queryKey: ["feature", id, latent] }, (page) =>
    page ? { ...page, note } : page,
  );
}
