import { useLocation, useSearch } from "wouter";
import type { Schemas } from "../../api/client";
import { featureAddress } from "./logic";

export interface Step {
  previous: number | null;
  next: number | null;
  address: (latent: number) => string;
  go: (latent: number | null) => void;
}

/** The features before and after the one that is asked for, also while it is still on its way. */
export function useStep(page: Schemas["FeaturePage"], latent: number): Step {
  const [, navigate] = useLocation();
  const search = useSearch();
  const here = page.latent === latent;
  const address = (to: number) => featureAddress(page.dictionary.id, to, search);
  return {
    previous: here ? page.previous : latent > 0 ? latent - 1 : null,
    next: here ? page.next : latent + 1 < page.n_latents ? latent + 1 : null,
    address,
    go: (to) => {
      if (to !== null) navigate(address(to));
    },
  };
}
