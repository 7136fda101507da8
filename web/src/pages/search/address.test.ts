import { expect, test } from "vitest";
import { readAsked, splitFeature, writeAsked } from "./address";

test("what is asked comes back from its address", () => {
  const asked = { kind: "text" as const, query: "a & b\n<c>", dictionaries: ["x.1", "y.2"] };
  const { to, state } = writeAsked(asked);
  expect(readAsked(new URL(to, "http://localhost").searchParams, state)).toEqual(asked);
});

test("nothing asked is the plain address, and an unknown kind is a search by label", () => {
  expect(writeAsked({ kind: "label", query: "", dictionaries: [] }).to).toBe("/search");
  expect(readAsked(new URLSearchParams("kind=magic&q=x")).kind).toBe("label");
});

test("a long text is kept beside the address", () => {
  const long = "x".repeat(4001);
  const { to, state } = writeAsked({ kind: "text", query: long, dictionaries: [] });
  expect(to).toBe("/search?kind=text");
  expect(readAsked(new URLSearchParams("kind=text"), state).query).toBe(long);
});

test("a feature is split at its last slash", () => {
  expect(splitFeature("a.1/17")).toEqual({ dictionary: "a.1", latent: "17" });
  expect(splitFeature("17")).toEqual({ dictionary: "", latent: "17" });
});
