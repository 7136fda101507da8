import { expect, test } from "vitest";
import { FIRST_FORM, inUnits, mistake, steerRequest, tokensInCommon } from "./steering";

const form = { ...FIRST_FORM, prompt: "Yesterday I" };

test.each(["2x", "-1x", "8", "0.5", "1e2", " 4X "])("%s is an amount", (amount) => {
  expect(mistake({ ...form, amount })).toBeNull();
});

test.each(["", "x", "two", "1,5", "2xx", "Infinity"])("'%s' is no amount", (amount) => {
  expect(mistake({ ...form, amount })).toContain("amount");
  expect(mistake({ ...form, amount, kind: "ablate" })).toBeNull();
});

test("a form is refused for what the server would refuse", () => {
  expect(mistake({ ...form, prompt: "  " })).toContain("prompt");
  expect(mistake({ ...form, tokens: "257" })).toContain("1 to 256");
  expect(mistake({ ...form, temperature: "" })).toContain("0 to 5");
  expect(mistake({ ...form, seed: "1.5" })).toContain("whole number");
});

test("a request holds numbers where the form holds text", () => {
  expect(steerRequest({ ...form, tokens: "12", temperature: "0.7" }, "d", 3)).toMatchObject({
    dictionary: "d",
    latents: [3],
    amount: "2x",
    n_tokens: 12,
    temperature: 0.7,
    seed: 0,
  });
});

test("multiples come to units of the dictionary, plain numbers are in them already", () => {
  expect(inUnits("-2x", 10)).toBe(-20);
  expect(inUnits("8", 10)).toBeNull();
  expect(inUnits("2x", 0)).toBeNull();
});

test("texts part at their first different token", () => {
  expect(tokensInCommon(["a", "b", "c"], ["a", "b", "d", "c"])).toBe(2);
  expect(tokensInCommon(["a"], ["a", "b"])).toBe(1);
});
