import { useKeys } from "../../ui/useKeys";
import { type Game, situation, squareName } from "./game";

interface Props {
  game: Game;
  at: number;
  onStep: (at: number) => void;
}

/** Goes through a game: buttons, keys, a slider, and its moves to choose from. */
export function Stepper({ game, at, onStep }: Props) {
  const last = game.places.length - 1;
  useKeys({
    ArrowLeft: { does: "one move back", run: () => onStep(Math.max(0, at - 1)) },
    ArrowRight: { does: "one move on", run: () => onStep(Math.min(last, at + 1)) },
    0: { does: "to the start of the game", run: () => onStep(0) },
    e: { does: "to the end of the game", run: () => onStep(last) },
  });
  const buttons = [
    { name: "To the start", sign: "|◀", to: 0, key: "0" },
    { name: "One move back", sign: "◀", to: at - 1, key: "←" },
    { name: "One move on", sign: "▶", to: at + 1, key: "→" },
    { name: "To the end", sign: "▶|", to: last, key: "e" },
  ];
  return (
    <div className="stepper">
      <p className="situation" role="status">
        {situation(game, at)}
      </p>
      <div className="step-line">
        {buttons.map(({ name, sign, to, key }) => (
          <button
            key={name}
            type="button"
            aria-label={name}
            title={`${name} (${key})`}
            disabled={to === at || to < 0 || to > last}
            onClick={() => onStep(to)}
          >
            <span aria-hidden="true">{sign}</span>
          </button>
        ))}
        <input
          type="range"
          aria-label="Move"
          aria-valuetext={`after move ${at} of ${last}`}
          min={0}
          max={last}
          value={at}
          onChange={(event) => onStep(Number(event.target.value))}
        />
      </div>
      {last > 0 && (
        <ol className="moves" aria-label="Moves of the game">
          {game.places.slice(1).map(({ move, by }, i) => (
            <li key={i}>
              <button
                type="button"
                className={`move ${by}`}
                aria-current={i + 1 === at ? "step" : undefined}
                aria-label={`After move ${i + 1}, ${squareName(move ?? 0, game.size)} by ${by}`}
                onClick={() => onStep(i + 1)}
              >
                {squareName(move ?? 0, game.size)}
              </button>
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}
