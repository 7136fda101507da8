import { useMutation } from "@tanstack/react-query";
import { client, data, type Schemas } from "../../api/client";

/** The latents that an answer lists besides the one that is asked about. */
const LISTED = 100;

/** Reads a text with the model; the answer stays while one goes on to other features. */
export function useProbe(page: Schemas["FeaturePage"]) {
  return useMutation({
    mutationFn: async (text: string) => {
      const answer = await data<Schemas["ProbeAnswer"]>(
        client.POST("/api/live/probe", {
          body: {
            text,
            dictionaries: [page.dictionary.id],
            latents: [page.latent],
            n: LISTED,
            by: "max",
          },
        }),
      );
      return { answer, text, latent: page.latent, dictionary: page.dictionary.id };
    },
  });
}

export type Probe = ReturnType<typeof useProbe>;
