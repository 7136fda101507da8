/** Games of Othello as the server tells them, and what is on each square. */
import type { Schemas } from "../../api/client";

export type Game = Schemas["Game"];
export type Place = Schemas["Place"];
export type Colour = "black" | "white";

const COLUMNS = "abcdefgh";

/** What players call a square: column letter and row number. */
export const squareName = (square: number, size: number) =>
  `${COLUMNS[square % size] ?? "?"}${Math.floor(square / size) + 1}`;

/** The square of a name; null where it is none of this board. */
export function squareOf(name: string | null, size: number): number | null {
  const found = /^([a-h])([1-8])$/.exec(name ?? "");
  if (!found) return null;
  const [column, row] = [COLUMNS.indexOf(found[1] ?? ""), Number(found[2]) - 1];
  return column < size && row < size ? row * size + column : null;
}

/** Whose disc lies on a square. */
export function discOn(place: Place, square: number): Colour | null {
  if (place.black.includes(square)) return "black";
  return place.white.includes(square) ? "white" : null;
}

const other = (colour: Colour): Colour => (colour === "black" ? "white" : "black");

/** From whose side features see the board: who moves next; after the end, who did not move last. */
export const seenBy = (place: Place): Colour =>
  place.next ?? (place.by ? other(place.by) : "black");

/** The words of a game up to a place. */
export const upTo = (game: string, at: number) =>
  game.split(" ").filter(Boolean).slice(0, at).join(" ");

/** A place that the game has. */
export const within = (at: number, game: Game) =>
  Math.min(Math.max(0, Math.trunc(at) || 0), game.places.length - 1);

/** Where things stand, in a sentence. */
export function situation(game: Game, at: number): string {
  const place = game.places[at];
  if (!place) return "";
  const before =
    place.move === null
      ? "The start."
      : `Move ${at} of ${game.places.length - 1}: ${place.by} took ${squareName(place.move, game.size)}.`;
  const counts = `${place.black.length} black, ${place.white.length} white.`;
  if (place.next === null) return `${before} ${counts} The game is over.`;
  const passed = place.passed ? `${capital(other(place.next))} must pass; ` : "";
  const turn = `${place.next} moves next.`;
  return `${before} ${counts} ${passed}${passed ? turn : capital(turn)}`;
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

/** Why the logit of a square cannot be traced; null where it can. */
export function whyNot(
  square: number,
  { at, size, readOnly }: { at: number; size: number; readOnly: boolean },
): string | null {
  const [row, column] = [Math.floor(square / size), square % size];
  const middle = [size / 2 - 1, size / 2];
  if (readOnly) return "The server is read-only: nothing is traced here.";
  if (middle.includes(row) && middle.includes(column))
    return "It is taken from the start, so the model has no logit for it.";
  if (at === 0) return "The model has read nothing before the first move: step on first.";
  return null;
}
