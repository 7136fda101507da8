// @vitest-environment node
import { expect, test } from "vitest";
import { placeOf, placeOfValue, ticks, valueAt } from "./bins";

const even = { edges: [0, 1, 2, 3, 4], counts: [1, 2, 3, 4], scale: "linear" as const };
const logs = { edges: [-4, -3, -2, -1, 0], counts: [1, 2, 3, 4], scale: "log10" as const };
const growing = { edges: [0, 0.5, 1, 2, 4], counts: [1, 2, 3, 4], scale: "linear" as const };

test("a place is counted in bins, and lies between edges in proportion", () => {
  expect(placeOf(even.edges, 2.5)).toBe(2.5);
  expect(placeOf(growing.edges, 3)).toBe(3.5);
  expect(placeOf(even.edges, 0)).toBe(0);
  expect(placeOf(even.edges, 4)).toBe(4);
});

test("what lies outside has no place", () => {
  expect(placeOf(even.edges, -0.1)).toBeNull();
  expect(placeOf(even.edges, 4.1)).toBeNull();
  expect(placeOf(even.edges, NaN)).toBeNull();
  expect(placeOf([], 1)).toBeNull();
});

test("plain values find their place among logarithms", () => {
  expect(placeOfValue(logs, 0.01)).toBe(2);
  expect(placeOfValue(logs, 0)).toBeNull();
  expect(valueAt(logs, -2)).toBe(0.01);
});

test("ticks are round numbers, powers of ten, or edges of bins that grow", () => {
  expect(ticks(even, 4).map(({ text }) => text)).toEqual(["0", "1", "2", "3", "4"]);
  expect(ticks(logs, 4).map(({ text }) => text)).toEqual(["0.0001", "0.001", "0.01", "0.1", "1"]);
  expect(ticks(growing, 3).map(({ place }) => place)).toEqual([0, 2, 4]);
});
