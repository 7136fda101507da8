import { describe, expect, it } from "vitest";
import { bucketsOf } from "./drawMap";
import { moved, showing, towards, WHOLE, zoomed } from "../../ui/squareView";
import { matches, nearest, pointsOf } from "./mapView";

function map(points: [number, number][]) {
  return {
    method: "pca",
    explained_share: null,
    latents: points.map((_, i) => 10 + i),
    x: points.map(([x]) => x),
    y: points.map(([, y]) => y),
    density: points.map((_, i) => (i === 0 ? 0 : 10 ** -i)),
    labels: points.map((_, i) => ["rivers in France", "not known", ""][i] ?? "rivers"),
  };
}

/** Pseudo-random, the same at each run. */
function scattered(n: number): [number, number][] {
  let state = 1;
  const next = () => (state = (state * 48271) % 2147483647) / 2147483647;
  return Array.from({ length: n }, () => [next(), next()]);
}

describe("nearest", () => {
  it("finds what a look at every point finds", () => {
    const points = pointsOf(map(scattered(500)));
    for (const [x, y] of scattered(40)) {
      let best: number | null = null;
      let least = 0.05;
      points.x.forEach((px, i) => {
        const distance = Math.hypot(px - x, (points.y[i] ?? 0) - y);
        if (distance < least) [best, least] = [i, distance];
      });
      expect(nearest(points, x, y, 0.05)).toBe(best);
    }
  });
  it("finds nothing where nothing is near, and does with one point", () => {
    expect(
      nearest(
        pointsOf(
          map([
            [0, 0],
            [1, 1],
          ]),
        ),
        0.5,
        0.5,
        0.1,
      ),
    ).toBeNull();
    expect(nearest(pointsOf(map([[3, 3]])), 0.5, 0.5, 0.1)).toBe(0);
  });
});

describe("towards", () => {
  it("goes to the near point in that direction, up being up", () => {
    const points = pointsOf(
      map([
        [0, 0],
        [1, 0.1],
        [2, 0],
        [0, 1],
        [2, 1],
      ]),
    );
    expect(towards(points, 0, "ArrowRight")).toBe(1);
    expect(towards(points, 0, "ArrowUp")).toBe(3);
    expect(towards(points, 0, "ArrowLeft")).toBeNull();
    expect(towards(points, 0, "a")).toBeNull();
  });
});

describe("view", () => {
  it("keeps the place under the pointer when it is enlarged, and never leaves the map", () => {
    const view = zoomed(WHOLE, 2, 0.25, 0.75);
    expect(view).toEqual({ left: 0.125, top: 0.375, zoom: 2 });
    expect(view.left + 0.25 / view.zoom).toBe(0.25);
    expect(moved(view, -9, 9)).toEqual({ left: 0.5, top: 0, zoom: 2 });
    expect(zoomed(view, 0.01)).toEqual(WHOLE);
  });
  it("moves only as far as a point is outside", () => {
    const view = { left: 0, top: 0, zoom: 4 };
    expect(showing(view, 0.1, 0.1)).toEqual(view);
    expect(showing(view, 0.9, 0.1)).toEqual({ left: 0.75, top: 0, zoom: 4 });
  });
});

describe("matches", () => {
  it("finds whole numbers and all words of a label", () => {
    const own = map([
      [0, 0],
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
    expect(matches(own, "RIVERS")).toEqual([0, 3]);
    expect(matches(own, "france rivers")).toEqual([0]);
    expect(matches(own, "12")).toEqual([2]);
    expect(matches(own, "1")).toEqual([]);
    expect(matches(own, " ")).toEqual([]);
  });
});

describe("bucketsOf", () => {
  it("puts rare and dead latents below frequent ones, and does without densities", () => {
    const own = map([
      [0, 0],
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
    const [dead, often, , rare] = bucketsOf(own, "density");
    expect(dead).toBe(0);
    expect(rare).toBe(0);
    expect(often).toBe(15);
    expect(new Set(bucketsOf({ ...own, density: null }, "density")).size).toBe(1);
  });
  it("tells known labels from the others", () => {
    const own = map([
      [0, 0],
      [1, 1],
      [2, 2],
    ]);
    expect([...bucketsOf(own, "label")]).toEqual([15, 0, 0]);
  });
});
