import { useMutation } from "@tanstack/react-query";
import { client, data, type Schemas } from "../../api/client";
import { type SteerForm, steerRequest } from "./steering";

/** Lets the model go on with a prompt while the feature is changed. */
export function useSteer(page: Schemas["FeaturePage"]) {
  return useMutation({
    mutationFn: async (form: SteerForm) => {
      const answer = await data<Schemas["SteerAnswer"]>(
        client.POST("/api/live/steer", {
          body: steerRequest(form, page.dictionary.id, page.latent),
        }),
      );
      return { answer, form, latent: page.latent, dictionary: page.dictionary.id };
    },
  });
}

export type Steer = ReturnType<typeof useSteer>;
