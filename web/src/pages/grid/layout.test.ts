import { describe, expect, it } from "vitest";
import { linesByLayer } from "./byLayer";
import { layOut, type Line, nextCell } from "./layout";
import { MEASURES, placeIn, rangeOf } from "./measures";

function line(part: string, layer: number, n_latents: number, more: Partial<Line> = {}): Line {
  const site = `${part}@${layer}`;
  return {
    id: `${part}-${layer}-${n_latents}-${more.name ?? ""}`,
    name: `${part}-${layer}-${n_latents}-topk-32`,
    model: "tiny",
    reads: site,
    writes: site,
    layer,
    part,
    n_latents,
    expansion: 8,
    sparsity: "topk",
    status: "measured",
    has_atlas: false,
    ...more,
  };
}
const explained = MEASURES[0]!;

describe("layOut", () => {
  it("has a column for each layer and a row for each position and width, in the order of a block", () => {
    const { layers, rows } = layOut([
      line("resid_post", 10, 512),
      line("resid_post", 2, 1024),
      line("mlp_out", 2, 512),
      line("mlp_out", 2, 512, { reads: "mlp_norm@2", name: "transcoder" }),
      line("attn_out", 2, 512),
    ]);
    expect(layers).toEqual([2, 10]);
    expect(rows.map(({ position, width }) => [position, width])).toEqual([
      ["attn_out", "512 · 8×"],
      ["mlp_norm → mlp_out", "512 · 8×"],
      ["mlp_out", "512 · 8×"],
      ["resid_post", "512 · 8×"],
      ["resid_post", "1,024 · 8×"],
    ]);
    expect(rows[3]?.cells.map((cell) => cell?.layer ?? null)).toEqual([null, 10]);
  });

  it("splits a row where two dictionaries differ in sparsity only, and keeps each L0 in its own row", () => {
    const { rows } = layOut([
      line("mlp_out", 1, 64, { name: "mlp_out-1-64-topk-16" }),
      line("mlp_out", 1, 64, { name: "mlp_out-1-64-topk-32" }),
      line("mlp_out", 2, 64, { name: "mlp_out-2-64-topk-32" }),
    ]);
    expect(rows.map(({ width }) => width)).toEqual(["64 · 8× · topk 16", "64 · 8× · topk 32"]);
    expect(rows[1]?.cells.map((cell) => cell?.name)).toEqual([
      "mlp_out-1-64-topk-32",
      "mlp_out-2-64-topk-32",
    ]);
  });

  it("shows twins from two runs in two rows, named by their runs", () => {
    const { rows } = layOut([
      line("mlp_out", 1, 64, { run: "20260102-030405-first-0a1b2c3d" }),
      line("mlp_out", 1, 64, { run: "20260102-030406-second-0a1b2c3d" }),
    ]);
    expect(rows.map(({ width }) => width)).toEqual(["64 · 8× · first", "64 · 8× · second"]);
  });

  it("loses none of 256 dictionaries", () => {
    const lines = Array.from({ length: 256 }, (_, i) =>
      line(["a", "b", "c", "d"][i % 4]!, Math.floor(i / 8), i % 8 < 4 ? 512 : 2048),
    );
    const { layers, rows } = layOut(lines);
    expect([layers.length, rows.length]).toEqual([32, 8]);
    expect(rows.flatMap(({ cells }) => cells).filter((cell) => cell !== null)).toHaveLength(256);
  });
});

describe("nextCell", () => {
  const { rows } = layOut([line("a", 1, 64), line("a", 3, 64), line("b", 1, 64), line("b", 2, 64)]);
  it("skips cells without a dictionary and stays inside", () => {
    expect(nextCell(rows, [0, 0], "ArrowRight")).toEqual([0, 2]);
    expect(nextCell(rows, [1, 1], "ArrowUp")).toBeNull();
    expect(nextCell(rows, [1, 0], "End")).toEqual([1, 1]);
    expect(nextCell(rows, [0, 0], "ArrowDown")).toEqual([1, 0]);
    expect(nextCell(rows, [0, 0], "x")).toBeNull();
  });
});

describe("measures", () => {
  const lines = [
    line("a", 1, 64, { explained_variance_centred: 0.5 }),
    line("a", 2, 64, { explained_variance_centred: 0.9 }),
    line("a", 3, 64),
  ];
  it("spreads colours from the least to the largest value that there is", () => {
    const range = rangeOf(lines, explained);
    expect(range).toEqual([0.5, 0.9]);
    expect(lines.map((one) => placeIn(range, explained.of(one)))).toEqual([0, 1, null]);
    expect(placeIn([0.7, 0.7], 0.7)).toBe(0.5);
    expect(rangeOf([line("a", 1, 64)], explained)).toBeNull();
  });
  it("never rounds a small share to nothing, nor a large one to all", () => {
    expect([0, 0.0002, 0.5, 0.996, 1].map(explained.brief)).toEqual([
      "0",
      "<1",
      "50",
      ">99",
      "100",
    ]);
  });
  it("makes a line of each row with two measured layers", () => {
    expect(
      linesByLayer([...lines, line("b", 1, 64, { explained_variance_centred: 1 })], explained),
    ).toEqual([{ name: "a 64 · 8×", x: [1, 2], y: [0.5, 0.9] }]);
  });
});
