import { expect, test } from "vitest";
import { begin, type Edit, edited, EMPTY, freeName } from "./edits";

const after = (...edits: Edit[]) => edits.reduce(edited, begin(EMPTY));
const UNDO: Edit = { do: "undo" };
const REDO: Edit = { do: "redo" };

test("each step can be taken back and done again", () => {
  const pin: Edit = { do: "pin", ids: ["a", "b"], on: true };
  const group: Edit = { do: "group", name: "g", ids: ["b", "c"] };
  const both = after(pin, group);
  expect(both.now.pinned).toEqual(["a"]); // a member stands in its group, not as a pin too
  expect(both.now.supernodes).toEqual([{ name: "g", ids: ["b", "c"] }]);
  expect(after(pin, group, UNDO).now.pinned).toEqual(["a", "b"]);
  expect(after(pin, group, UNDO, UNDO).now).toEqual(EMPTY);
  expect(after(pin, group, UNDO, UNDO, UNDO).now).toEqual(EMPTY);
  expect(after(pin, group, UNDO, UNDO, REDO, REDO).now).toEqual(both.now);
});

test("what is done after an undo forgets what was undone", () => {
  const history = after({ do: "pin", ids: ["a"], on: true }, UNDO, {
    do: "pin",
    ids: ["b"],
    on: true,
  });
  expect(edited(history, REDO)).toBe(history);
  expect(history.now.pinned).toEqual(["b"]);
});

test("a dragged slider is one step, and the next drag another", () => {
  const slide = (share: number): Edit => ({ do: "share", share });
  const history = after(slide(0.9), slide(0.7), slide(0.5), { do: "settle" }, slide(0.2));
  expect(edited(history, UNDO).now.share).toBe(0.5);
  expect(edited(edited(history, UNDO), UNDO).now.share).toBe(EMPTY.share);
});

test("moving two boxes is two steps", () => {
  const move = (id: string, x: number): Edit => ({ do: "move", id, x, y: 0 });
  const history = after(move("a", 0.1), move("a", 0.2), move("b", 0.3));
  expect(edited(history, UNDO).now.moved).toEqual({ a: [0.2, 0] });
});

test("the focus is no step, and an undo leaves it alone unless a step came before", () => {
  const history = after({ do: "pin", ids: ["a"], on: true }, { do: "focus", id: "x" });
  expect(history.now.focus).toBe("x");
  expect(history.past).toHaveLength(1);
});

test("what changes nothing is no step", () => {
  expect(after({ do: "pin", ids: ["a"], on: false }).past).toHaveLength(0);
  expect(after({ do: "group", name: "g", ids: ["a"] }).past).toHaveLength(0);
  expect(after({ do: "group", name: "g", ids: ["a", "target"] }).past).toHaveLength(0);
});

test("a node stands in one group, and a group of one is none", () => {
  const history = after(
    { do: "group", name: "g", ids: ["a", "b"] },
    { do: "group", name: "h", ids: ["b", "c"] },
  );
  expect(history.now.supernodes).toEqual([{ name: "h", ids: ["b", "c"] }]);
});

test("names of groups stay apart, and a place goes with its name", () => {
  expect(
    freeName("g", [
      { name: "g", ids: [] },
      { name: "g #2", ids: [] },
    ]),
  ).toBe("g #3");
  const history = after(
    { do: "group", name: "g", ids: ["a", "b"] },
    { do: "move", id: "group:g", x: 0.5, y: 0.5 },
    { do: "rename", name: "g", to: " names " },
  );
  expect(history.now.supernodes[0]?.name).toBe("names");
  expect(history.now.moved).toEqual({ "group:names": [0.5, 0.5] });
  expect(edited(history, { do: "rename", name: "names", to: "  " })).toBe(history);
});
