import { expect, test } from "vitest";
import type { Schemas } from "../../api/client";
import { findLatent, listedFiring, shadedTokens } from "./probing";

const firing = (latent: number, values: number[], density: number | null = 0.01) =>
  ({ latent, values, density, max: Math.max(...values) }) as Schemas["FiringLatent"];
const probed = (latents: Schemas["FiringLatent"][], n_firing: number) =>
  ({ latents, n_firing }) as Schemas["Probed"];

test("dense latents and those silent on the chosen token are left out", () => {
  const all = [firing(1, [0, 2]), firing(2, [3, 0]), firing(3, [1, 1], 0.4), firing(4, [0, 0])];
  const numbers = (density: number, place: number | null) =>
    listedFiring(all, density, place).map((one) => one.latent);
  expect(numbers(0.1, null)).toEqual([1, 2]);
  expect(numbers(1, null)).toEqual([1, 2, 3]);
  expect(numbers(1, 0)).toEqual([2, 3]);
});

test("a latent without a density is not taken to be dense", () => {
  expect(listedFiring([firing(1, [1], null)], 0.1, null)).toHaveLength(1);
});

test("a latent that was not asked for is silent only if all that fire are listed", () => {
  const some = probed([firing(1, [2])], 50);
  expect(findLatent(some, 9, 1).state).toBe("unread");
  expect(findLatent(some, 9, 9).state).toBe("silent");
  expect(findLatent(probed([firing(1, [2])], 1), 9, 1).state).toBe("silent");
  expect(findLatent(some, 1, 9)).toEqual({ state: "fires", latent: some.latents[0] });
});

test("tokens are shaded by the latent's values, or not at all", () => {
  const tokens = [{ text: "a", id: 4, counts: true }];
  expect(shadedTokens(tokens, [2.5])[0]).toEqual({ text: "a", ids: [4], bytes: "", value: 2.5 });
  expect(shadedTokens(tokens, null)[0]?.value).toBe(0);
});
