import { expect, test } from "vitest";
import type { Schemas } from "../../api/client";
import { documentFacts, featureAddress, percent, sections, tokenLines, verdict } from "./logic";

const passage = (text: string, position = 0): Schemas["Passage"] => ({
  tokens: [{ text, ids: [1], bytes: "61", value: 2 }],
  peak: 0,
  max: 2,
  context: 3,
  position,
  document: null,
  held_out: false,
});
const source = (part: Partial<Schemas["LabelSource"]>): Schemas["LabelSource"] => ({
  run: null,
  explainer: "statistics",
  judge: "rule",
  label: "digits",
  known: true,
  threshold: 0.6,
  precision: null,
  recall: null,
  scores: [],
  ...part,
});
const detection = (low: number): Schemas["ScoreLine"] => ({
  scorer: "detection",
  estimate: { value: 0.9, low, high: 1, n: 20 },
  chance: 0.5,
  meaning: "",
});

test("an address keeps the atlas and the frame, and nothing else", () => {
  expect(featureAddress("a.b/c", 7, "?atlas=12ab&text=x&embed=1")).toBe(
    "/dictionaries/a.b%2Fc/features/7?atlas=12ab&embed=1",
  );
  expect(featureAddress("d", 7, "")).toBe("/dictionaries/d/features/7");
});

test("sections leave out empty groups and end with what speaks against the label", () => {
  const found = sections({
    groups: [
      { name: "top", low: 8, high: 9, share: 0.01, passages: [passage("a")] },
      {
        name: "quantile",
        low: 4,
        high: 9,
        share: 0.25,
        passages: [passage("b"), passage("c", 64)],
      },
      { name: "quantile", low: 1, high: 4, share: 0.25, passages: [] },
    ],
    missed: [passage("c", 64)],
  } as unknown as Schemas["FeaturePage"]);
  expect(found.map((one) => [one.kind, one.passages.length])).toEqual([
    ["top", 1],
    ["interval", 2],
    ["missed", 1],
  ]);
  expect(found[1]?.title).toBe("4.00 to 9.00");
  expect(found[1]?.info).toContain("25 %");
});

test("tokens that peak and tokens that were counted are joined by id", () => {
  const lines = tokenLines({
    peak_tokens: [
      { id: 5, text: " an", value: 2 },
      { id: 4, text: " a", value: 9 },
    ],
    tokens: [
      { id: 4, text: " a", n_fired: 30, n_seen: 40 },
      { id: 6, text: " the", n_fired: 1, n_seen: 900 },
    ],
  });
  expect(lines).toEqual([
    { id: 4, text: " a", peaks: 9, fired: 30, seen: 40 },
    { id: 5, text: " an", peaks: 2, fired: null, seen: null },
    { id: 6, text: " the", peaks: 0, fired: 1, seen: 900 },
  ]);
});

test("a verdict names the lower end of the interval and the threshold", () => {
  expect(verdict({ dead: false, sources: [source({ scores: [detection(0.82)] })] })).toEqual({
    tone: "known",
    text: expect.stringMatching(/at least 0\.82 .* 0\.60 is asked for/),
  });
  expect(
    verdict({ dead: false, sources: [source({ known: false, scores: [detection(0.41)] })] }),
  ).toEqual({ tone: "unknown", text: expect.stringContaining("as low as 0.41") });
});

test("a feature that nobody was asked about differs from one that an explainer is silent on", () => {
  expect(verdict({ dead: false, sources: [] }).tone).toBe("unasked");
  const silent = verdict({ dead: false, sources: [source({ known: false, label: "" })] });
  expect(silent.tone).toBe("unknown");
  expect(silent.text).toContain("no rule");
});

test("documents are called by their title, with what else is known once", () => {
  const document = {
    number: 4,
    id: "x",
    title: "Walden",
    source: "books",
    licence: "public domain",
  };
  expect(documentFacts({ ...passage("a"), document })).toEqual({
    title: "Walden",
    details: ["books", "public domain"],
  });
  expect(documentFacts({ ...passage("a"), document: { number: 4 } })?.title).toBe("document 4");
  expect(documentFacts(passage("a"))).toBeNull();
});

test("shares in a column have two decimals, and what is rarer is not called zero", () => {
  expect([0, 0.00001, 0.0123, 1].map(percent)).toEqual([
    "0.00 %",
    "< 0.01 %",
    "1.23 %",
    "100.00 %",
  ]);
});
