import { expect, test } from "vitest";
import { indexOf } from "./columns";
import { groupOfEach, howManyNames, indicesOf, litBy, namedFirst, toggled } from "./marks";
import { columnsOf } from "./sample";

const plain = columnsOf([
  [0, 0, 1],
  [1, 0, 3],
  [2, 0, -2],
  [3, 1, 0.5],
]);
const nodes = {
  ...plain,
  id: ["n0", "n1", "n2", "target"],
  kind: ["token", "feature", "feature", "target"],
};
const byId = indexOf(nodes);
const ORDERED = [1, 2, 0];
const none: ReadonlySet<number> = new Set();

test("nodes that the slider left out have no mark", () => {
  expect([...indicesOf(["n2", "gone", "n0"], byId)]).toEqual([2, 0]);
  expect([
    ...groupOfEach(
      [
        { name: "a", ids: ["gone"] },
        { name: "b", ids: ["n1"] },
      ],
      byId,
    ),
  ]).toEqual([[1, 1]]);
});

test("a focused node lights what it is linked with, and wins over what was found", () => {
  const links = { source: [0, 1], goal: [1, 3], flow: [1, 1] };
  expect(litBy(1, links, [2])).toEqual(new Set([1, 0, 3]));
  expect(litBy(1, null, null)).toEqual(new Set([1]));
  expect(litBy(null, null, [2])).toEqual(new Set([2]));
  expect(litBy(null, null, [])).toEqual(none);
  expect(litBy(null, null, null)).toBeNull();
});

test("names go to the target, what is pinned and features, or to what is lit, the focus first", () => {
  const pinned = new Set([0]);
  const named = (focus: number | null, lit: ReadonlySet<number> | null) =>
    namedFirst(nodes, byId, ORDERED, { focus, lit, pinned });
  expect(named(null, null)).toEqual([3, 0, 1, 2]);
  expect(named(null, new Set([2, 1, 0]))).toEqual([1, 2]);
  expect(named(2, new Set([2, 1, 0]))).toEqual([2, 1]);
});

test("more names are written where there are words or pins, up to eighty", () => {
  const known = { ...nodes, label_known: nodes.id.map((id) => id === "n1") };
  expect(howManyNames(known, [1, 2], { lit: null, pinned: new Set([0]) })).toBe(18);
  const many = new Set(Array.from({ length: 100 }, (_, i) => i));
  expect(howManyNames(known, [1], { lit: null, pinned: many })).toBe(80);
  expect(howManyNames(known, [1], { lit: none, pinned: none })).toBe(60);
});

test("what is chosen twice is not chosen", () => {
  expect(toggled(["a", "b"], ["b", "c"])).toEqual(["a", "c"]);
});
