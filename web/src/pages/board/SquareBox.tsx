import { share } from "../../ui/format";
import { Failed } from "../../ui/states";
import { useKeys } from "../../ui/useKeys";
import type { Schemas } from "../../api/client";
import { WorkerNote } from "../feature/WorkerNote";
import { discOn, type Place, squareName, whyNot } from "./game";

interface Props {
  square: number | null;
  size: number;
  at: number;
  place: Place;
  probabilities: readonly number[] | null;
  player: Schemas["PlayerPage"];
  /** Run whose dictionaries the trace goes through; null for none. */
  source: string | null;
  waiting: boolean;
  error: unknown;
  onPlay: (square: number) => void;
  onSource: (source: string | null) => void;
  onTrace: (square: number) => void;
}

/** The chosen square: what the model makes of it, and its logit to be traced. */
export function SquareBox(props: Props) {
  const { square, size, at, place, probabilities, player, source, waiting, error } = props;
  const why =
    square === null
      ? "Choose a square on the board."
      : whyNot(square, { at, size, readOnly: player.read_only });
  const trace = () => {
    if (square !== null && why === null && !waiting) props.onTrace(square);
  };
  useKeys({ t: { does: "trace the logit of the chosen square", run: trace } });
  const legal = square !== null && place.legal.includes(square);
  const name = square === null ? "" : squareName(square, size);
  return (
    <section className="square-box" aria-label="Chosen square">
      <p>
        {square === null ? (
          <span className="muted">Choose a square to trace its logit or to play there.</span>
        ) : (
          <>
            <strong className="mono">{name}</strong> {described(place, square)}
            {probabilities && at > 0 && (
              <>
                {" "}
                · next with probability <strong>{share(probabilities[square])}</strong>, rank{" "}
                {rank(probabilities, square)}
              </>
            )}
          </>
        )}
      </p>
      <div className="square-tools">
        <button
          type="button"
          className="primary"
          disabled={why !== null || waiting}
          title={why ?? "Trace its logit (t)"}
          onClick={trace}
        >
          Trace {name ? `the logit of ${name}` : "its logit"}
        </button>
        <button
          type="button"
          disabled={!legal}
          onClick={() => square !== null && props.onPlay(square)}
        >
          Play {name || "here"}
        </button>
        <label>
          through
          <select
            aria-label="Dictionaries of the trace"
            value={source ?? ""}
            onChange={(event) =>
              props.onSource(event.target.value === "" ? null : event.target.value)
            }
          >
            {player.sources.map((run) => (
              <option key={run} value={run}>
                dictionaries of {run}
              </option>
            ))}
            <option value="">no dictionaries</option>
          </select>
        </label>
      </div>
      {square !== null && why && <p className="muted small-print">{why}</p>}
      {waiting && <WorkerNote />}
      {Boolean(error) && <Failed error={error} />}
    </section>
  );
}

function described(place: Place, square: number): string {
  const disc = discOn(place, square);
  if (disc) return `${disc} disc`;
  return place.legal.includes(square) ? "empty, legal" : "empty, not legal";
}

const rank = (probabilities: readonly number[], square: number) =>
  1 + probabilities.filter((p) => p > (probabilities[square] ?? 0)).length;
