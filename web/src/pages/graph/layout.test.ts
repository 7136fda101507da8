import { expect, test } from "vitest";
import { layoutOf, perLine, rowSite } from "./layout";
import { columnsOf } from "./sample";
import { moved, showing, towards, WHOLE, zoomed } from "../../ui/squareView";
import { nearest, within } from "./view";

const FRAME = { left: 0, top: 0, width: 1000, height: 1000 };

test("tokens go from left to right and layers from below", () => {
  const { x, y } = layoutOf(
    columnsOf([
      [0, 0, 1],
      [0, 1, 1],
      [4, 0, 1],
      [9, 1, 1],
    ]),
    2,
  );
  expect(x[0]).toBeLessThan(x[1] ?? 0);
  expect(x[0]).toBeCloseTo(x[2] ?? 0);
  expect(y[3]).toBeLessThan(y[2] ?? 0);
  expect(y[2]).toBeLessThan(y[0] ?? 0);
});

test("nodes that share a place stand apart within it, the strongest raising first", () => {
  const crowd = Array.from({ length: 25 }, (_, i) => [2, 1, i - 12] as const);
  const layout = layoutOf(columnsOf([[0, 0, 1], ...crowd, [0, 2, 1]]), 3);
  const spots = new Set(crowd.map((_, i) => `${layout.x[i + 1]} ${layout.y[i + 1]}`));
  expect(spots.size).toBe(25);
  const { from = 0, to = 0 } = layout.columns[1] ?? {};
  crowd.forEach((_, i) => {
    expect(layout.x[i + 1]).toBeGreaterThan(from);
    expect(layout.x[i + 1]).toBeLessThan(to);
  });
  expect(layout.y[25]).toBeLessThan(layout.y[1] ?? 0); // +12 stands above −12
  expect(perLine(25)).toBe(8);
});

test("columns and rows fill the square, also those without a node", () => {
  const { columns, rows } = layoutOf(
    columnsOf([
      [0, 0, 1],
      [7, 3, 1],
    ]),
    5,
  );
  expect(columns).toHaveLength(5);
  expect(columns[0]?.from).toBe(0);
  expect(columns[4]?.to).toBeCloseTo(1);
  expect(rows.map(({ at }) => at)).toEqual([0, 7]);
  expect(rows[0]?.to).toBe(1);
  expect(rows[1]?.from).toBeCloseTo(0);
});

test("a node without a position stands nowhere and is never found", () => {
  const layout = layoutOf(
    columnsOf([
      [0, null, 1],
      [0, 0, 1],
    ]),
    1,
  );
  expect(layout.x[0]).toBeNaN();
  const at = { x: 1000 * (layout.x[1] ?? 0) + 3, y: 1000 * (layout.y[1] ?? 0) };
  expect(nearest(layout, WHOLE, FRAME, at, 10)).toBe(1);
  expect(nearest(layout, WHOLE, FRAME, { ...at, x: at.x + 30 }, 10)).toBeNull();
  expect(within(layout, WHOLE, FRAME, { x: 0, y: 0 }, { x: 1000, y: 1000 })).toEqual([1]);
});

test("arrow keys go to the next node in their direction, and stop at the edge", () => {
  const layout = layoutOf(
    columnsOf([
      [0, 0, 1],
      [0, 1, 1],
      [2, 0, 1],
    ]),
    2,
  );
  expect(towards(layout, 0, "ArrowRight", 2)).toBe(1);
  expect(towards(layout, 0, "ArrowUp", 2)).toBe(2);
  expect(towards(layout, 0, "ArrowLeft", 2)).toBeNull();
  expect(towards(layout, 0, "x", 2)).toBeNull();
});

test("zooming keeps the place under the pointer, and moving stays inside", () => {
  const near = zoomed(WHOLE, 4, 0.25, 0.75);
  expect(near.left + 0.25 / near.zoom).toBeCloseTo(0.25);
  expect(near.top + 0.75 / near.zoom).toBeCloseTo(0.75);
  expect(zoomed(near, 0.01)).toEqual(WHOLE);
  expect(moved(near, 99, -99)).toEqual({ left: 0, top: 0.75, zoom: 4 });
  expect(showing(near, 0.9, 0.6).left).toBeCloseTo(0.75);
});

test("a row is named after the site that most of its nodes write to", () => {
  expect(rowSite(columnsOf([[3, 0, 1]]), 3)).toBe("mlp_out@3");
  expect(rowSite(columnsOf([[0, 0, 1]]), 0)).toBeNull();
});
