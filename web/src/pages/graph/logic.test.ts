import { expect, test } from "vitest";
import { boxesOf, flowsBetween, placesOf } from "./circuit";
import {
  barredBy,
  claimRequest,
  type ClaimTest,
  mistake,
  testsOf,
  verdict,
  verdictsByNode,
} from "./claims";
import { byAttribution, indexOf, matching, nodeName } from "./columns";
import { comparedName, rooted, rowsOf } from "./compared";
import { clipped } from "./draw";
import { columnsOf } from "./sample";
import { barOf } from "./ledger";
import { strongest } from "./pairs";
import { linkBucket, LINK_BUCKETS, radiusOf, strength } from "./strength";

test("the parts of a ledger end to end reach the target from zero", () => {
  const parts = [
    { name: "tokens", value: 6 },
    { name: "errors", value: -2 },
    { name: "biases", value: 1 },
    { name: "cut", value: 0 },
  ];
  const { segments, zero, sum } = barOf(parts, 5);
  expect(zero).toBeCloseTo(2 / 9);
  expect(sum).toBeCloseTo(7 / 9);
  expect(segments.map(({ name }) => name)).toEqual(["tokens", "errors", "biases"]);
  expect(segments[0]?.from).toBeCloseTo(zero);
  expect(segments[2]?.to).toBeCloseTo(1);
  expect(segments[1]?.from).toBeCloseTo(0);
});

test("a negative target lies on the bar too, and nothing at all breaks nothing", () => {
  expect(barOf([{ name: "tokens", value: -4 }], -4)).toMatchObject({ zero: 1, sum: 0 });
  expect(barOf([], 0)).toEqual({ segments: [], zero: 0, sum: 0 });
});

test("strength tells three powers of ten apart", () => {
  expect([10, 1, 0.1, 0.01, 0].map((value) => strength(value, 10))).toEqual([
    1,
    expect.closeTo(2 / 3),
    expect.closeTo(1 / 3),
    0,
    0,
  ]);
  expect(linkBucket(-10, 10, 0)).toBe(LINK_BUCKETS - 1);
  expect(linkBucket(-10, 10, 5000)).toBe(0); // however large: thousands are before it
  expect(radiusOf(10, 10, 1, 100)).toBeGreaterThan(radiusOf(1, 10, 1, 100));
  expect(radiusOf(10, 10, 1, 3)).toBe(3);
});

test("flows between boxes sum their links, each once, and not those within a group", () => {
  const nodes = columnsOf([
    [0, 0, 1],
    [2, 0, 2],
    [2, 1, 3],
    [5, 1, 9],
  ]);
  const target = { ...nodes, id: ["t0", "f1", "f2", "target"] };
  const boxes = boxesOf(
    target,
    indexOf(target),
    { pinned: ["t0", "gone"], supernodes: [{ name: "g", ids: ["f1", "f2"] }] },
    (i) => `name ${i}`,
  );
  expect(boxes.map(({ key, attribution }) => [key, attribution])).toEqual([
    ["target", 9],
    ["t0", 1],
    ["group:g", 5],
  ]);
  const one = { source: [0, 1, 1], goal: [1, 2, 3], flow: [0.5, 7, 2] };
  const two = { source: [1, 2], goal: [3, 3], flow: [2, -3] };
  expect(flowsBetween(boxes, target, [one, two])).toEqual([
    { source: "group:g", goal: "target", flow: -1, n: 2 },
    { source: "t0", goal: "group:g", flow: 0.5, n: 1 },
  ]);
  const { places, nLines } = placesOf(boxes, 4);
  expect(nLines).toBe(3);
  expect(places.get("target")?.[1]).toBeLessThan(places.get("t0")?.[1] ?? 0);
});

test("a row of many boxes takes several lines, and none shares a place", () => {
  const nodes = columnsOf(Array.from({ length: 9 }, (_, i) => [2, i, 1] as const));
  const ids = nodes.id;
  const boxes = boxesOf(nodes, indexOf(nodes), { pinned: ids, supernodes: [] }, String);
  const { places, nLines } = placesOf(boxes, 4);
  expect(nLines).toBe(3);
  expect(new Set([...places.values()].map(String)).size).toBe(9);
});

const TEST: ClaimTest = {
  id: "1",
  nodes: ["b", "a"],
  edge: null,
  how: "ablate",
  value: null,
  claimed: 1,
  expected: -1,
  linear: -1,
  real: -0.9,
  before: 5,
  after: 4.1,
  reads: "logit",
  share: 0.9,
  elapsed_s: 1,
  created: "",
};

test("a test belongs to exactly the claim that it tried", () => {
  const link: ClaimTest = { ...TEST, id: "2", nodes: ["a"], edge: ["a", "b"] };
  expect(testsOf([TEST, link], { nodes: ["a", "b"] })).toEqual([TEST]);
  expect(testsOf([TEST, link], { nodes: ["a"] })).toEqual([]);
  expect(testsOf([TEST, link], { edge: ["a", "b"] })).toEqual([link]);
  expect(testsOf([TEST, link], { edge: ["b", "a"] })).toEqual([]);
});

test("verdicts follow the share of what was expected", () => {
  const words = [0.9, 3, 0.3, 0.02, -0.8, null].map((share) => verdict({ ...TEST, share }).word);
  expect(words).toEqual(["holds", "stronger", "partly", "not seen", "opposite", "tested"]);
});

test("a test needs an amount where one is used", () => {
  expect(mistake({ how: "ablate", amount: "x" })).toBeNull();
  expect(mistake({ how: "scale", amount: "" })).toMatch(/number/);
  expect(mistake({ how: "scale", amount: "1" })).toMatch(/nothing/);
  expect(mistake({ how: "set", amount: "1e9" })).toMatch(/between/);
  expect(claimRequest({ how: "set", amount: "3" }, { nodes: ["a"] })).toEqual({
    nodes: ["a"],
    edge: null,
    how: "set",
    value: 3,
  });
});

test("all that is not shown of a score is in the others, and all cells sum to it", () => {
  const matrix = [
    [5, 1, 0.5],
    [-3, 0, 0.25],
    [0, 0.5, 1],
  ];
  const { queries, keys, values } = strongest({ matrix }, 1);
  expect([queries, keys]).toEqual([[0], [0]]);
  expect(values).toEqual([
    [5, 1.5],
    [-3, 1.75],
  ]);
  expect(values.flat().reduce((a, b) => a + b)).toBeCloseTo(matrix.flat().reduce((a, b) => a + b));
});

test("a label that did not hold is not a node's name", () => {
  const nodes = {
    ...columnsOf([
      [2, 0, 1],
      [2, 0, -5],
    ]),
    label: ["names", "guess"],
  };
  const named = { ...nodes, label_known: [true, false] };
  expect(nodeName(named, 0, [], "t")).toBe("names");
  expect(nodeName(named, 1, [], "t")).toBe("mlp_out@2/1");
  expect(byAttribution(named)).toEqual([1, 0]);
  expect(matching(named, "NAM", (i) => nodeName(named, i, [], "t"))).toEqual([0]);
});

test("nodes of two graphs are told apart by where they stand", () => {
  const nodes = {
    key: ["x", "y", "z"],
    kind: ["feature" as const, "token" as const, "feature" as const],
    site: ["mlp_out@1", null, "mlp_out@1"],
    latent: [1, null, 2],
    label: [null, null, "names"],
    a: [1, null, 2],
    b: [null, 1, 2],
    ids_a: [["mlp_out@1/1@0"], [], []],
    ids_b: [[], ["token@1"], []],
  };
  expect(rowsOf(nodes, "a", "")).toEqual([0]);
  expect(rowsOf(nodes, "b", "")).toEqual([1]);
  expect(rowsOf(nodes, "shared", "feature")).toEqual([2]);
  const texts = [[], ["<s>", " Ann"]] as const;
  expect([0, 1, 2].map((i) => comparedName(nodes, i, texts))).toEqual([
    "mlp_out@1/1",
    "·Ann",
    "names",
  ]);
  expect(rooted(-9)).toBe(-3);
});

test("names are cut between letters", () => {
  expect(clipped("👩‍🚀x", 9)).toBe("👩‍🚀x");
  expect(clipped("abcdef", 4)).toBe("abc…");
});

test("a node stands by its newest test, and tests of links and groups are not its own", () => {
  const own = (share: number): ClaimTest => ({ ...TEST, nodes: ["a"], edge: null, share });
  const link: ClaimTest = { ...TEST, nodes: ["a"], edge: ["a", "b"], share: -0.8 };
  expect([...verdictsByNode([link, own(0.02), own(0.9), TEST])]).toEqual([["a", "not seen"]]);
});

test("claims are barred by a server that changes nothing, or that lacks the dictionaries", () => {
  expect(barredBy({ read_only: false, live: true })).toBeNull();
  expect(barredBy({ read_only: true, live: true })).toContain("read-only");
  expect(barredBy({ read_only: false, live: false })).toContain("dictionaries");
});
