import { useState } from "react";
import { Failed } from "../../ui/states";
import { useKeys } from "../../ui/useKeys";

interface Props {
  /** The game that is shown. */
  game: string;
  size: number;
  waiting: boolean;
  error: unknown;
  /** Another game; null for a random one. */
  onGame: (game: string | null) => void;
}

/** A game to be typed, or drawn at random. */
export function GameBox({ game, size, waiting, error, onGame }: Props) {
  const [text, setText] = useState(game);
  const [typedFor, setTypedFor] = useState(game);
  if (typedFor !== game) {
    setTypedFor(game);
    setText(game);
  }
  useKeys({ n: { does: "another random game", run: () => onGame(null) } });
  return (
    <form
      className="game-box"
      aria-label="Choose a game"
      onSubmit={(event) => {
        event.preventDefault();
        if (!waiting) onGame(text.trim());
      }}
    >
      <label>
        Game
        <input
          className="mono"
          value={text}
          maxLength={1000}
          spellCheck={false}
          autoCapitalize="off"
          autoComplete="off"
          placeholder={size === 6 ? "c2 d2 e2 …" : "f5 d6 c3 …"}
          onChange={(event) => setText(event.target.value)}
        />
      </label>
      <button type="submit" disabled={waiting || text.trim() === game}>
        Show
      </button>
      <button type="button" disabled={waiting} title="Random game (n)" onClick={() => onGame(null)}>
        Random game
      </button>
      {Boolean(error) && <Failed error={error} />}
    </form>
  );
}
