import { describe, expect, it } from "vitest";
import { chartsOf, constant, joined, ownersOf, shortNames } from "./curves";
import { flattened, intervalOf, resultTables } from "./results";

const line = (name: string, x: number[], y: (number | null)[]) => ({ name, x, y });

describe("chartsOf", () => {
  const lines = [
    line("lr", [1, 2], [0.1, 0.2]),
    line("a-1-64/l0", [1, 2], [8, 8]),
    line("a-1-64/loss", [1, 2], [3, 2]),
    line("b-2-64/loss", [1, 2], [4, 3]),
  ];
  it("puts a metric of several dictionaries in one chart, the loss first, and the run's own among them", () => {
    const charts = chartsOf(lines, new Set(["a-1-64", "b-2-64"]));
    expect(charts.map(({ metric, lines: own }) => [metric, own.map(({ name }) => name)])).toEqual([
      ["loss", ["a-1", "b-2"]],
      ["l0", ["a-1"]],
      ["lr", ["lr"]],
    ]);
  });
  it("draws the chosen dictionaries only", () => {
    expect(ownersOf(lines.map(({ name }) => name))).toEqual(["a-1-64", "b-2-64"]);
    const charts = chartsOf(lines, new Set(["b-2-64"]));
    expect(charts.find(({ metric }) => metric === "loss")?.lines).toHaveLength(1);
    expect(charts.some(({ metric }) => metric === "l0")).toBe(false);
  });
  it("knows a chart that says one number only, rounding left aside", () => {
    expect(constant({ metric: "l0", lines: [line("a", [1, 2], [32, 31.9999])] })).toBe(32);
    expect(constant({ metric: "l0", lines: [line("a", [1, 2], [32, 31])] })).toBeNull();
    expect(constant({ metric: "n_dead", lines: [line("a", [1], [0])] })).toBe(0);
    expect(constant({ metric: "loss", lines: [line("a", [1], [null])] })).toBeNull();
  });
});

describe("shortNames", () => {
  it("leaves out the words at the end that all names share, but never a whole name", () => {
    expect([...shortNames(["a-7-64-topk", "b-14-64-topk"]).values()]).toEqual(["a-7", "b-14"]);
    expect([...shortNames(["topk", "a-topk"]).values()]).toEqual(["topk", "a-topk"]);
    expect([...shortNames(["a-7-64-topk"]).values()]).toEqual(["a-7-64-topk"]);
  });
});

describe("joined", () => {
  it("adds points behind the last one and none twice, so that a stream can begin again", () => {
    const old = [line("loss", [1, 2], [5, 4])];
    const once = joined(old, [line("loss", [2, 3], [4, 3]), line("lr", [3], [0.1])]);
    expect(once).toEqual([line("loss", [1, 2, 3], [5, 4, 3]), line("lr", [3], [0.1])]);
    expect(joined(once, [line("loss", [2, 3], [4, 3])])).toEqual(once);
  });
});

describe("results", () => {
  it("shares a table among results with the same figures and leaves out what is null", () => {
    const tables = resultTables({
      a: { l0: 1, l0_interval: [0, 2], pca: null },
      b: { l0: 2, l0_interval: null, pca: null },
      census: { n_tokens: 5 },
    });
    expect(tables.map(({ keys, rows }) => [keys, rows.map(({ name }) => name)])).toEqual([
      [["l0"], ["a", "b"]],
      [["n_tokens"], ["census"]],
    ]);
    expect(intervalOf({ l0: 1, l0_interval: [0, 2] }, "l0")).toEqual([0, 2]);
    expect(intervalOf({ l0: 1, l0_interval: [null, null] }, "l0")).toBeNull();
  });
});

describe("flattened", () => {
  it("writes keys in dots, tables of tables by number, and values as TOML", () => {
    expect(
      flattened({ a: { b: 1, c: "x" }, d: [{ k: 1 }, { k: 2 }], e: [1, [2, "y"]], f: {} }),
    ).toEqual([
      ["a.b", "1"],
      ["a.c", '"x"'],
      ["d[0].k", "1"],
      ["d[1].k", "2"],
      ["e", '[1, [2, "y"]]'],
      ["f", "{}"],
    ]);
  });
});
