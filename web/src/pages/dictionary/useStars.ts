import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { client, data, type Schemas } from "../../api/client";

type Line = Schemas["FeatureLine"];

/** Stars that are set in the list; what else stands in a note stays as it is. */
export function useStars(id: string, atlas: string | null) {
  const queries = useQueryClient();
  const [set, setSet] = useState<ReadonlyMap<number, boolean>>(new Map());
  const [failed, setFailed] = useState<unknown>(null);
  const put = (latent: number, star: boolean) =>
    setSet((before) => new Map(before).set(latent, star));
  const mutation = useMutation({
    mutationFn: async ({ latent, star }: { latent: number; star: boolean }) => {
      const path = { dictionary: id, latent };
      const page = await data<Schemas["FeaturePage"]>(
        client.GET("/api/dictionaries/{dictionary}/features/{latent}", {
          params: { path, query: atlas ? { atlas } : {} },
        }),
      );
      const note = { text: "", tags: [], ...page.note, star };
      return data(
        client.PUT("/api/dictionaries/{dictionary}/features/{latent}/note", {
          params: { path },
          body: note,
        }),
      );
    },
    onMutate: ({ latent, star }) => {
      setFailed(null);
      put(latent, star);
    },
    onError: (error, { latent, star }) => {
      setFailed(error);
      put(latent, !star);
    },
    onSuccess: (_, { latent }) => queries.invalidateQueries({ queryKey: ["feature", id, latent] }),
  });
  const of = (line: Line) => set.get(line.latent) ?? line.starred;
  return {
    failed,
    of,
    toggle: (line: Line) => mutation.mutate({ latent: line.latent, star: !of(line) }),
  };
}
