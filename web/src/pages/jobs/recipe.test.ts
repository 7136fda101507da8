import { describe, expect, it } from "vitest";
import { amount, checked, type Draft, EMPTY } from "./recipe";

const draft = (changes: Partial<Draft>): Draft => ({ ...EMPTY, ...changes });

describe("checked", () => {
  it("asks for a run or a recipe before anything else", () => {
    expect(checked(draft({ verb: "evaluate" })).problem).toBe("Choose a run to work on.");
    expect(checked(draft({ verb: "train" })).problem).toBe("Choose a recipe.");
  });
  it("sends numbers as numbers and leaves out what is empty", () => {
    const { request } = checked(
      draft({
        verb: "atlas",
        run: "a",
        only: ["b"],
        values: { "census.tokens": "200k", "text.source": " " },
        more: "census.batch_tokens=2048\n\ntext.column = body\nonly_known=true",
      }),
    );
    expect(request).toEqual({
      verb: "atlas",
      recipe: null,
      run: "a",
      resume: null,
      only: ["b"],
      options: {
        "census.tokens": 200_000,
        "census.batch_tokens": 2048,
        "text.column": "body",
        only_known: true,
      },
    });
  });
  it("says which field is wrong", () => {
    const wrong = (values: Record<string, string>, verb: Draft["verb"] = "explain") =>
      checked(draft({ verb, run: "a", values })).problem;
    expect(wrong({ threshold: "2" })).toBe("Threshold must be a number between 0 and 1, not “2”.");
    expect(wrong({ n_latents: "many" })).toContain("Latents must be a whole number");
    expect(checked(draft({ run: "a", more: "tokens" })).problem).toContain("KEY=VALUE");
  });
  it("resumes by the run's own recipe, whatever else was filled in", () => {
    const { request } = checked(draft({ verb: "train", resume: "a", run: "b", more: "x" }));
    expect(request).toMatchObject({ verb: "train", resume: "a", run: null, options: {} });
  });
});

describe("amount", () => {
  it("reads thousands, millions and separators", () => {
    expect(["200k", "1.5M", "100,000", "0.6", "x", "", "1e5"].map(amount)).toEqual([
      200_000,
      1_500_000,
      100_000,
      0.6,
      null,
      null,
      null,
    ]);
  });
});
