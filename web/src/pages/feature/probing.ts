/** What the test box works out from the model's answer. */
import type { Schemas } from "../../api/client";

type Probed = Schemas["Probed"];
type Firing = Schemas["FiringLatent"];

/** Those that fire at all, are no denser than asked for, and fire on the chosen token if there is one. */
export function listedFiring(
  latents: readonly Firing[],
  maxDensity: number,
  place: number | null,
): Firing[] {
  return latents.filter(
    (one) =>
      one.max > 0 &&
      (one.density === null || one.density <= maxDensity) &&
      (place === null || (one.values[place] ?? 0) > 0),
  );
}

/** The tokens of a text with one latent's activations, ready to be shaded. */
export function shadedTokens(
  tokens: Probed["tokens"],
  values: readonly number[] | null,
): Schemas["Token"][] {
  return tokens.map((token, i) => ({
    text: token.text,
    ids: [token.id],
    bytes: "",
    value: values?.[i] ?? 0,
  }));
}

export type Found =
  | { state: "fires"; latent: Firing }
  | { state: "silent" }
  /** It may fire more weakly than all that were listed: only another reading tells. */
  | { state: "unread" };

/** What an answer that was asked for one latent says of this one. */
export function findLatent(probed: Probed, latent: number, asked: number): Found {
  const found = probed.latents.find((one) => one.latent === latent);
  if (found) return found.max > 0 ? { state: "fires", latent: found } : { state: "silent" };
  const listed = probed.latents.filter((one) => one.max > 0).length;
  return latent === asked || listed >= probed.n_firing ? { state: "silent" } : { state: "unread" };
}
