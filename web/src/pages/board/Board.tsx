import { useEffect, useRef } from "react";
import { activation } from "../../ui/colour";
import { fixed } from "../../ui/format";
import { discOn, type Place, squareName } from "./game";

interface Props {
  place: Place;
  size: number;
  /** Of each square to be taken next; null where the model was not asked or has read nothing. */
  probabilities: readonly number[] | null;
  selected: number | null;
  /** Squares that something on the page speaks of. */
  spoken: ReadonlySet<number>;
  /** What each square adds to a circuit, where one is shown. */
  shares: ReadonlyMap<number, string> | null;
  onSelect: (square: number) => void;
  /** A square was clicked, or Enter pressed on it. */
  onPress: (square: number) => void;
}

/** Below such a probability a square has no figure. */
const SMALLEST = 0.01;

/** The board: discs, legal moves, and how probable the model holds each square to be taken next. */
export function Board({
  place,
  size,
  probabilities,
  selected,
  spoken,
  shares,
  onSelect,
  onPress,
}: Props) {
  const grid = useRef<HTMLDivElement>(null);
  const moves = useRef(false);
  const largest = Math.max(0, ...(probabilities ?? []));
  const current = selected ?? place.move ?? 0;
  useEffect(() => {
    if (!moves.current) return;
    moves.current = false;
    grid.current?.querySelector<HTMLElement>(`[data-square="${current}"]`)?.focus();
  }, [current]);
  const step = (event: React.KeyboardEvent) => {
    const [row, column] = [Math.floor(current / size), current % size];
    const to = STEPS[event.key];
    if (!to || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = [row + to[0], column + to[1]] as const;
    if (next.some((at) => at < 0 || at >= size)) return;
    moves.current = true;
    onSelect(next[0] * size + next[1]);
  };
  const lines = Array.from({ length: size }, (_, i) => i);
  return (
    <div
      className="othello-board"
      role="grid"
      aria-label="Board"
      ref={grid}
      onKeyDown={step}
      style={{ "--size": size } as React.CSSProperties}
    >
      <div className="board-row" role="presentation" aria-hidden="true">
        <span />
        {lines.map((column) => (
          <span key={column} className="board-edge">
            {squareName(column, size)[0]}
          </span>
        ))}
      </div>
      {lines.map((row) => (
        <div key={row} className="board-row" role="row">
          <span className="board-edge" role="presentation" aria-hidden="true">
            {row + 1}
          </span>
          {lines.map((column) => {
            const square = row * size + column;
            return (
              <Square
                key={square}
                square={square}
                name={squareName(square, size)}
                place={place}
                probability={probabilities?.[square] ?? null}
                largest={largest}
                isSelected={square === selected}
                isCurrent={square === current}
                isSpoken={spoken.has(square)}
                share={shares?.get(square)}
                onPress={onPress}
              />
            );
          })}
        </div>
      ))}
    </div>
  );
}

const STEPS: Record<string, readonly [number, number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

interface SquareProps {
  square: number;
  name: string;
  place: Place;
  probability: number | null;
  largest: number;
  isSelected: boolean;
  isCurrent: boolean;
  isSpoken: boolean;
  share: string | undefined;
  onPress: (square: number) => void;
}

function Square({
  square,
  name,
  place,
  probability,
  largest,
  isSelected,
  isCurrent,
  isSpoken,
  share,
  onPress,
}: SquareProps) {
  const disc = discOn(place, square);
  const legal = place.legal.includes(square);
  const shows = probability !== null && probability >= SMALLEST;
  const shade = shows ? activation(probability, largest) : null;
  const words = [
    name,
    disc ? `${disc} disc` : "empty",
    place.move === square ? "just taken" : "",
    place.flipped.includes(square) ? "just turned" : "",
    legal ? "legal" : "",
    probability === null ? "" : `probability ${percent(probability)} %`,
    share === undefined ? "" : `adds ${share}`,
    isSpoken ? "spoken of" : "",
  ];
  const classes = [
    "board-square",
    legal ? "legal" : "",
    isSpoken ? "spoken" : "",
    isSelected ? "selected" : "",
  ];
  return (
    <button
      type="button"
      role="gridcell"
      className={classes.filter(Boolean).join(" ")}
      data-square={square}
      aria-label={words.filter(Boolean).join(", ")}
      aria-selected={isSelected}
      tabIndex={isCurrent ? 0 : -1}
      onClick={() => onPress(square)}
    >
      {shade && !disc && (
        <span className="chance-ground" style={{ background: shade.background }} />
      )}
      {disc && (
        <span
          className={`disc ${disc}${place.flipped.includes(square) ? " turned" : ""}${place.move === square ? " taken" : ""}`}
        />
      )}
      {shows && (
        <span
          className={`chance${disc ? " on-disc" : ""}${legal ? "" : " against"}`}
          style={disc ? undefined : { color: shade?.ink }}
        >
          {percent(probability)}
        </span>
      )}
      {share !== undefined && <span className="board-share">{share}</span>}
    </button>
  );
}

/** In percent, short enough for a square. */
const percent = (x: number) => fixed(x * 100, x >= 0.0995 || x === 0 ? 0 : 1);
