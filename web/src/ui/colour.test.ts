// @vitest-environment node
import { expect, test } from "vitest";
import { activation, sequential } from "./colour";

const alpha = (background: string) => Number(/\/ ([\d.]+)\)/.exec(background)?.[1]);

test("shades grow with the activation and stop at the full one", () => {
  const shades = [1, 5, 10, 50].map((value) => alpha(activation(value, 10).background));
  expect(shades).toEqual([0.19, 0.55, 1, 1]);
});

test("what does not fire, or has no scale, has no shade", () => {
  for (const [value, full] of [
    [0, 10],
    [3, 0],
    [NaN, 10],
    [3, NaN],
  ] as const)
    expect(activation(value, full).background).toBe("transparent");
});

test("negative values are blue", () => {
  expect(activation(-10, 10).background).toContain("--negative");
  expect(activation(10, 10).background).toContain("--positive");
});

/** Relative luminance as WCAG 2 defines it. */
function luminance(colour: string): number {
  const rgb = colour.startsWith("#")
    ? [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16))
    : (colour.match(/\d+/g) ?? []).map(Number);
  const [r = 0, g = 0, b = 0] = rgb.map((c) => {
    const s = c / 255;
    return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

test("text on every cell of a grid has a contrast of 4.5 or more", () => {
  let before = -1;
  for (let i = 0; i <= 100; i++) {
    const { background, ink } = sequential(i / 100);
    const [ground, text] = [luminance(background), luminance(ink)];
    expect((Math.max(ground, text) + 0.05) / (Math.min(ground, text) + 0.05)).toBeGreaterThan(4.5);
    expect(ground).toBeGreaterThanOrEqual(before); // it gets lighter all the way, so it works in grey
    before = ground;
  }
});

test("text on every shade of a token has a contrast of 4.5 or more in both themes", () => {
  const themes = [
    { ground: [255, 255, 255], full: [230, 120, 0], weak: "#15181e", strong: "#15181e" },
    { ground: [27, 32, 42], full: [240, 140, 30], weak: "#ffffff", strong: "#000000" },
  ];
  for (const { ground, full, weak, strong } of themes)
    for (let value = 1; value <= 100; value++) {
      const shade = activation(value, 100);
      const a = alpha(shade.background);
      const mixed = ground.map((g, i) => Math.round(g + (full[i]! - g) * a));
      const [below, ink] = [
        luminance(`rgb(${mixed.join(" ")})`),
        luminance(shade.ink.includes("strong") ? strong : weak),
      ];
      expect((Math.max(below, ink) + 0.05) / (Math.min(below, ink) + 0.05)).toBeGreaterThan(4.5);
    }
});

test("a cell without a value looks like none", () => {
  expect(sequential(null).background).toBe("var(--surface)");
});
