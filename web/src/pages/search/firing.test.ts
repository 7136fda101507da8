import { expect, test } from "vitest";
import type { Schemas } from "../../api/client";
import { firingOrder, shareOfRecord } from "./firing";

function firing(
  latent: number,
  values: number[],
  density: number | null = 0.01,
  record_max: number | null = 10,
): Schemas["FiringLatent"] {
  const fired = values.filter((value) => value > 0);
  const max = Math.max(...values);
  return {
    latent,
    label: "",
    known: false,
    density,
    record_max,
    values,
    max,
    sum: fired.reduce((sum, value) => sum + value, 0),
    n_tokens: fired.length,
    peak: values.indexOf(max),
  };
}

const latents = [
  firing(1, [0, 5, 0], 0.2, 50),
  firing(2, [3, 3, 3], 0.01, 3),
  firing(3, [0, 0, 4], null, null),
];
const numbers = (shown: Parameters<typeof firingOrder>[1]) =>
  firingOrder(latents, shown).map((one) => one.latent);

test("each order puts its own largest figure first", () => {
  const by = (order: Parameters<typeof firingOrder>[1]["order"]) =>
    numbers({ order, token: null, maxDensity: null });
  expect(by("max")).toEqual([1, 3, 2]);
  expect(by("sum")).toEqual([2, 1, 3]);
  expect(by("tokens")).toEqual([2, 1, 3]);
  expect(by("share")).toEqual([2, 1, 3]);
  expect(by("density")).toEqual([2, 1, 3]);
});

test("a chosen token shows only the latents that fire on it, strongest there first", () => {
  expect(numbers({ order: "max", token: 1, maxDensity: null })).toEqual([1, 2]);
  expect(numbers({ order: "max", token: 0, maxDensity: null })).toEqual([2]);
});

test("the density limit leaves out frequent latents and keeps those without a known density", () => {
  expect(numbers({ order: "max", token: null, maxDensity: 0.1 })).toEqual([3, 2]);
});

test("equal figures are in the order of the latents", () => {
  const equal = [firing(9, [1]), firing(4, [1])];
  expect(
    firingOrder(equal, { order: "max", token: null, maxDensity: null }).map((one) => one.latent),
  ).toEqual([4, 9]);
});

test("the share of the record is unknown without an atlas", () => {
  expect(shareOfRecord(firing(1, [2], 0.1, 4))).toBe(0.5);
  expect(shareOfRecord(firing(1, [2], 0.1, null))).toBeNull();
});
