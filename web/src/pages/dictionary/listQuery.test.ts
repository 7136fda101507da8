import { describe, expect, it } from "vitest";
import { asked, filtersIn, read, turned, written } from "./listQuery";

const of = (text: string, hasLabels = false) => read(new URLSearchParams(text), hasLabels);

describe("read", () => {
  it("begins with the best labels where there are any, else with the first latent", () => {
    expect(of("", true).order).toBe("-detection");
    expect(of("").order).toBe("latent");
    expect(of("order=-max", true).order).toBe("-max");
  });
  it("leaves what is searched by in the order that fits best", () => {
    for (const search of ["label=river", "token=the", "near=0"])
      expect(of(search, true).order).toBe("latent");
  });
  it("takes no order and no flag that does not exist", () => {
    expect(of("order=drop&known=maybe")).toMatchObject({ order: "latent", known: "" });
  });
});

describe("asked", () => {
  it("asks for what is filled in only", () => {
    expect(asked(of("known=true&dead=false&min=0.1&max=5"), "abc")).toEqual({
      order: "latent",
      atlas: "abc",
      known: true,
      dead: false,
      min_density: 0.001,
      max_density: 0.05,
    });
  });
  it("keeps the blank in front of a token, and refuses numbers that are none", () => {
    expect(asked(of("token=%20the&near=x&min=200"), null)).toEqual({
      order: "latent",
      token: " the",
    });
    expect(asked(of("near=0"), null)).toMatchObject({ near: 0 });
  });
});

describe("written", () => {
  it("changes its own keys and leaves the others", () => {
    const next = written(new URLSearchParams("tab=features&label=a"), { label: "", known: "true" });
    expect(next.toString()).toBe("tab=features&known=true");
    expect(filtersIn(read(next))).toBe(1);
    const near = written(new URLSearchParams("order=-max"), { near: "3" });
    expect(near.toString()).toBe("near=3");
  });
});

describe("turned", () => {
  it("begins with the largest figure, and with the first latent", () => {
    expect(turned("latent", "max")).toBe("-max");
    expect(turned("-max", "max")).toBe("max");
    expect(turned("-max", "latent")).toBe("latent");
    expect(turned("latent", "latent")).toBe("-latent");
  });
});
