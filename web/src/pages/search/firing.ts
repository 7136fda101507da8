/** Which of the latents that fire on a text are shown, and in which order. */
import type { Schemas } from "../../api/client";

type FiringLatent = Schemas["FiringLatent"];

export type Order = "max" | "sum" | "tokens" | "share" | "density";

export const ORDERS: { value: Order; name: string }[] = [
  { value: "max", name: "largest activation" },
  { value: "share", name: "share of its record" },
  { value: "sum", name: "sum over the text" },
  { value: "tokens", name: "tokens it fires on" },
  { value: "density", name: "rarest first" },
];

export interface Shown {
  order: Order;
  /** Place of the token to sort by; null: by `order`. */
  token: number | null;
  /** Latents that fire on a larger share of all text are left out; null: none is. */
  maxDensity: number | null;
}

export function firingOrder(latents: FiringLatent[], shown: Shown): FiringLatent[] {
  const { token, maxDensity } = shown;
  const kept = latents.filter(
    (one) =>
      (maxDensity === null || one.density === null || one.density <= maxDensity) &&
      (token === null || (one.values[token] ?? 0) > 0),
  );
  const key = (one: FiringLatent) =>
    token === null ? figure(one, shown.order) : (one.values[token] ?? 0);
  return kept.toSorted((a, b) => key(b) - key(a) || a.latent - b.latent);
}

function figure(one: FiringLatent, order: Order): number {
  switch (order) {
    case "max":
      return one.max;
    case "sum":
      return one.sum;
    case "tokens":
      return one.n_tokens;
    case "share":
      return shareOfRecord(one) ?? -1;
    case "density":
      return one.density === null ? -Infinity : -one.density;
  }
}

/** The largest activation on the text over the largest in the atlas; null without an atlas. */
export function shareOfRecord(one: FiringLatent): number | null {
  return one.record_max ? one.max / one.record_max : null;
}
