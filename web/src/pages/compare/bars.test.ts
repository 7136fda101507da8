import { expect, test } from "vitest";
import { shares, within } from "./bars";

const histogram = { edges: [0, 0.5, 1], counts: [3, 1], scale: "linear" as const };

test("shares add up to one, and are zero where nothing was counted", () => {
  expect(shares(histogram)).toEqual([0.75, 0.25]);
  expect(shares({ ...histogram, counts: [0, 0] })).toEqual([0, 0]);
});

test("a stretch takes its part of each bar", () => {
  expect(within(histogram, 0, 1)).toBeCloseTo(1);
  expect(within(histogram, 0.25, 0.75)).toBeCloseTo(0.375 + 0.125);
  expect(within(histogram, 1, 2)).toBe(0);
});
