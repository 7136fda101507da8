import { expect, test } from "vitest";
import type { Schemas } from "../../api/client";
import { sharesByMove, signed, strongest } from "./circuit";
import {
  discOn,
  type Game,
  type Place,
  seenBy,
  situation,
  squareName,
  squareOf,
  upTo,
  within,
} from "./game";
import { holds, squareSaid } from "./labels";

/** 6 by 6: after black took c2, which turned c3. */
const AFTER: Place = {
  move: 8,
  by: "black",
  black: [8, 14, 15, 20],
  white: [21],
  flipped: [14],
  legal: [7, 9, 19],
  next: "white",
  passed: false,
};
const START: Place = {
  ...AFTER,
  move: null,
  by: null,
  black: [15, 20],
  white: [14, 21],
  flipped: [],
  next: "black",
};
const GAME: Game = { game: "c2", size: 6, places: [START, AFTER] };

test("squares are called by column and row, and names of other boards are none", () => {
  expect([0, 3, 8, 35].map((square) => squareName(square, 6))).toEqual(["a1", "d1", "c2", "f6"]);
  expect(squareName(63, 8)).toBe("h8");
  for (let square = 0; square < 64; square++)
    expect(squareOf(squareName(square, 8), 8)).toBe(square);
  for (const wrong of ["g1", "a7", "h8", "", "a0", "A1", "a11", "<b>", null])
    expect(squareOf(wrong, 6)).toBeNull();
});

test("a place is told in a sentence, with passes and the end", () => {
  expect(situation(GAME, 0)).toBe("The start. 2 black, 2 white. Black moves next.");
  expect(situation(GAME, 1)).toBe(
    "Move 1 of 1: black took c2. 4 black, 1 white. White moves next.",
  );
  const passed = { ...AFTER, next: "black" as const, passed: true };
  expect(situation({ ...GAME, places: [START, passed] }, 1)).toContain(
    "White must pass; black moves next.",
  );
  const over = { ...AFTER, next: null, legal: [] };
  expect(situation({ ...GAME, places: [START, over] }, 1)).toContain("The game is over.");
});

test("places and words beyond a game are the nearest that it has", () => {
  expect([-3, 0, 1, 9, Number.NaN, 0.7].map((at) => within(at, GAME))).toEqual([0, 0, 1, 1, 0, 0]);
  expect(upTo("c2 d2 e2", 2)).toBe("c2 d2");
  expect(upTo("", 2)).toBe("");
});

test("features see the board from the side of who moves next", () => {
  expect(seenBy(AFTER)).toBe("white");
  expect(seenBy({ ...AFTER, next: null })).toBe("white");
  expect(discOn(AFTER, 8)).toBe("black");
  expect(discOn(AFTER, 0)).toBeNull();
});

test.each([
  ["move c2", true],
  ["move c3", false],
  ["move c2 turning down", true],
  ["move c2 turning up", false],
  ["move c2 turning sideways", false],
  ["mine d4", true],
  ["mine c2", false],
  ["yours c2", true],
  ["yours a1", false],
  ["empty a1", true],
  ["empty c2", false],
  ["legal b2", true],
  ["legal a1", false],
  ["flipped c3", true],
  ["flipped c2", false],
  ["black to move", false],
  ["position 0", true],
  ["position 1", false],
  ["mine h8", null],
  ["<img src=x>", null],
])("%s after the first move: %s", (label, expected) => {
  expect(holds(label, AFTER, 1, 6)).toBe(expected);
});

test("labels speak of their square, or of none", () => {
  expect(squareSaid("move c2 turning down right", 6)).toBe(8);
  expect(squareSaid("legal f6", 6)).toBe(35);
  for (const none of ["black to move", "position 12", "c2", "mine g7"])
    expect(squareSaid(none, 6)).toBeNull();
});

test("what moves add is summed by square, and the largest parts come first", () => {
  const nodes = {
    kind: ["target", "token", "feature", "token", "position"],
    position: [1, 0, 1, 1, 0],
    attribution: [2, 0.5, -1.25, 0.25, 0.1],
  } as unknown as Schemas["NodeColumns"];
  const meta = { tokens: [{ text: "c2" }, { text: " d2" }] } as unknown as Schemas["GraphMeta"];
  expect([...sharesByMove({ nodes, meta }, 6)]).toEqual([
    [8, "+0.50"],
    [9, "+0.25"],
  ]);
  expect(strongest({ nodes, meta }, 2)).toEqual([2, 1]);
  expect(signed(-1.25)).toBe("−1.3");
});
