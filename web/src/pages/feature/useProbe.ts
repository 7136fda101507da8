import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { client, data, type Schemas } from "../../api/client";

/** The latents that an answer lists besides the one that is asked about. */
const LISTED = 100;

/** A text as the model read it for one feature. */
export interface Reading {
  probed: Schemas["Probed"] | null;
  problems: Schemas["Problem"][];
  text: string;
  latent: number;
  dictionary: string;
}

/** Reads a text with the model; the answer stays while one goes on to other features. */
export function useProbe(page: Schemas["FeaturePage"]) {
  const [reading, setReading] = useState<Reading | null>(null);
  const dictionary = page.dictionary.id;
  const { latent } = page;
  const { mutate, isPending, error } = useMutation({
    mutationFn: async (text: string): Promise<Reading> => {
      const answer = await data<Schemas["ProbeAnswer"]>(
        client.POST("/api/live/probe", {
          body: { text, dictionaries: [dictionary], latents: [latent], n: LISTED, by: "max" },
        }),
      );
      const probed = answer.probed[0] ?? null;
      return { probed, problems: answer.problems, text, latent, dictionary };
    },
    onSuccess: setReading,
  });
  return {
    reading: reading?.dictionary === dictionary ? reading : null,
    read: mutate,
    isReading: isPending,
    error,
  };
}

export type Probe = ReturnType<typeof useProbe>;
