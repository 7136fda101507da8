/** Labels of features of a player: which squares they speak of, and whether they hold. */
import { discOn, type Place, seenBy, squareOf } from "./game";

/** Steps of rows and columns of the ways in which lines go. */
const WAYS: Record<string, readonly [number, number]> = {
  up: [-1, 0],
  "up right": [-1, 1],
  right: [0, 1],
  "down right": [1, 1],
  down: [1, 0],
  "down left": [1, -1],
  left: [0, -1],
  "up left": [-1, -1],
};
const OF_SQUARE = /^(move|mine|yours|empty|legal|flipped) ([a-h][1-8])(?: turning ([a-z ]+))?$/;

/** The square that a label speaks of; null where it speaks of none. */
export function squareSaid(label: string, size: number): number | null {
  return squareOf(OF_SQUARE.exec(label)?.[2] ?? null, size);
}

/**
 * Whether a label holds after a move, by the rules; null for one that is not known here.
 *
 * @param at How many moves were made.
 */
export function holds(label: string, place: Place, at: number, size: number): boolean | null {
  if (label === "black to move") return place.next === "black";
  const position = /^position (\d+)$/.exec(label);
  if (position) return Number(position[1]) === at - 1;
  const found = OF_SQUARE.exec(label);
  const square = squareSaid(label, size);
  if (!found || square === null) return null;
  const disc = discOn(place, square);
  switch (found[1]) {
    case "move":
      return place.move === square && (!found[3] || turned(place, square, found[3], size));
    case "mine":
      return disc === seenBy(place);
    case "yours":
      return disc !== null && disc !== seenBy(place);
    case "empty":
      return disc === null;
    case "legal":
      return place.legal.includes(square);
    default:
      return place.flipped.includes(square);
  }
}

/** Whether the first disc on a line from the move was turned. */
function turned(place: Place, square: number, way: string, size: number): boolean {
  const step = WAYS[way];
  if (!step) return false;
  const [row, column] = [Math.floor(square / size) + step[0], (square % size) + step[1]];
  if (row < 0 || column < 0 || row >= size || column >= size) return false;
  return place.flipped.includes(row * size + column);
}
