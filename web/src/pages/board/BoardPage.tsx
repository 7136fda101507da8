import { useCallback, useMemo, useState } from "react";
import { Link, useLocation, useSearchParams } from "wouter";
import type { Schemas } from "../../api/client";
import { share } from "../../ui/format";
import { NotShown } from "../../ui/NotShown";
import { Panel } from "../../ui/Panel";
import { Failed, Loading } from "../../ui/states";
import { WorkerNote } from "../feature/WorkerNote";
import { ProblemList } from "../run/ProblemList";
import { Board } from "./Board";
import { sharesByMove } from "./circuit";
import { CircuitPanel, useCircuit } from "./CircuitPanel";
import { FeatureRows } from "./FeatureRows";
import { type Game, squareName, squareOf, upTo, whyNot, within } from "./game";
import { GameBox } from "./GameBox";
import { Legend } from "./Legend";
import { SquareBox } from "./SquareBox";
import { Stepper } from "./Stepper";
import { useGame, useOtherGame, usePlayer, useRead, useTrace } from "./useBoard";
import "./BoardPage.css";

type Player = Schemas["PlayerPage"];

/** From this width on a circuit has room beside the board. */
const ROOM = "(min-width: 60rem)";
/** Where a random game opens: something is on the board, and most is still open. */
const FIRST_PLACE = 10;

/** A player's board: its game move by move, what the model makes of it, and squares to trace. */
export default function BoardPage({ run }: { run: string }) {
  const player = usePlayer(run);
  if (player.error)
    return <NotShown what="This board" error={player.error} retry={() => void player.refetch()} />;
  if (!player.data)
    return (
      <>
        <h1>Board</h1>
        <Loading what="the player" />
      </>
    );
  return <Page key={player.data.player.run} player={player.data} />;
}

function Page({ player }: { player: Player }) {
  const { run, size, name } = player.player;
  const [search, setSearch] = useSearchParams();
  const asked = search.get("game");
  const game = useGame(run, asked, true);
  const other = useOtherGame(run);
  const set = useCallback(
    (changes: Record<string, string | null>, replace = true) =>
      setSearch(
        (before) => {
          const next = new URLSearchParams(before);
          for (const [key, value] of Object.entries(changes))
            if (value === null) next.delete(key);
            else next.set(key, value);
          return next;
        },
        { replace },
      ),
    [setSearch],
  );
  const show = (text: string | null, place?: number) =>
    other.mutate(text, {
      onSuccess: (found) => {
        const last = found.places.length - 1;
        const at = place ?? (text === null ? Math.min(FIRST_PLACE, last) : last);
        set({ game: found.game, at: String(at), square: null, graph: null }, false);
      },
    });
  const shown = game.error ? null : (game.data ?? null);
  return (
    <div className="stack board-page">
      <header className="board-head">
        <div>
          <h1>{name}</h1>
          <p className="muted">
            Othello on {size} by {size} squares
            {typeof player.player.legal_top1 === "number" &&
              ` · likeliest next move legal in ${share(player.player.legal_top1)} of positions`}{" "}
            · <Link href={`/runs/${encodeURIComponent(run)}`}>run</Link>
          </p>
        </div>
      </header>
      <ProblemList problems={player.problems} />
      <GameBox
        game={shown?.game ?? asked ?? ""}
        size={size}
        waiting={other.isPending}
        error={other.error ?? game.error}
        onGame={(text) => show(text)}
      />
      {shown ? (
        <Position
          player={player}
          game={shown}
          search={search}
          set={set}
          onPlay={(text, at) => show(text, at)}
        />
      ) : (
        !game.error && <Loading what="the game" />
      )}
    </div>
  );
}

interface PositionProps {
  player: Player;
  game: Game;
  search: URLSearchParams;
  set: (changes: Record<string, string | null>, replace?: boolean) => void;
  onPlay: (text: string, at: number) => void;
}

/** The board with all that is beside it. */
function Position({ player, game, search, set, onPlay }: PositionProps) {
  const { run, size } = player.player;
  const at = within(Number(search.get("at") ?? FIRST_PLACE), game);
  const place = game.places[at] ?? game.places[0];
  const chosen = search.get("dictionary");
  const none = chosen === "none";
  const dictionary = none
    ? null
    : (player.dictionaries.find(({ id }) => id === chosen)?.id ??
      player.labelled.at(-1) ??
      player.dictionaries.at(-1)?.id ??
      null);
  const read = useRead(run, game.game, dictionary);
  const move = at === 0 ? null : (read.data?.moves[at - 1] ?? null);
  const square = squareOf(search.get("square"), size);
  const [spoken, setSpoken] = useState<readonly number[]>([]);
  const graph = graphOf(search.get("graph"));
  const circuit = useCircuit(graph);
  const shares = useMemo(
    () => (graph && circuit.data ? sharesByMove(circuit.data, size) : null),
    [graph, circuit.data, size],
  );
  const [source, setSource] = useState<string | null>(player.sources[0] ?? null);
  const trace = useTrace(run);
  const [, navigate] = useLocation();
  if (!place) return null;
  const onTrace = (traced: number) =>
    trace.mutate(
      { game: upTo(game.game, at), at, square: traced, dictionaries: source, threshold: null },
      {
        onSuccess: ({ run: to, name }) => {
          const now = new URLSearchParams(window.location.search).get("at") ?? FIRST_PLACE;
          if (within(Number(now), game) !== at) return; // the board shows another place by now
          if (window.matchMedia(ROOM).matches) set({ graph: `${to}/${name}` });
          else navigate(`/graphs/${encodeURIComponent(to)}/${encodeURIComponent(name)}`);
        },
      },
    );
  /** A pressed square is traced at once where its circuit has room beside the board. */
  const onPress = (to: number) => {
    set({ square: squareName(to, size) });
    if (!window.matchMedia(ROOM).matches || trace.isPending) return;
    if (whyNot(to, { at, size, readOnly: player.read_only }) === null) onTrace(to);
  };
  return (
    <div className="board-columns">
      <div className="stack">
        <section className="panel board-panel" aria-label="Position">
          <Board
            place={place}
            size={size}
            probabilities={move?.probabilities ?? null}
            selected={square}
            spoken={new Set(spoken)}
            shares={shares}
            onSelect={(to) => set({ square: squareName(to, size) })}
            onPress={onPress}
          />
          <Stepper game={game} at={at} onStep={(to) => set({ at: String(to), graph: null })} />
          <Legend asked={move !== null} />
        </section>
      </div>
      <div className="stack">
        <section className="panel" aria-label="Model">
          <SquareBox
            square={square}
            size={size}
            at={at}
            place={place}
            probabilities={move?.probabilities ?? null}
            player={player}
            source={source}
            waiting={trace.isPending}
            error={trace.error}
            onPlay={(to) => onPlay(`${upTo(game.game, at)} ${squareName(to, size)}`, at + 1)}
            onSource={setSource}
            onTrace={onTrace}
          />
          <ModelLine at={at} move={move} read={read} />
        </section>
        {graph && (
          <CircuitPanel
            at={graph}
            circuit={circuit}
            size={size}
            onSpeak={setSpoken}
            onClose={() => set({ graph: null })}
          />
        )}
        {player.dictionaries.length > 0 && (
          <Panel
            title="Features on at this move"
            info="Latents of a dictionary that are on after this move, strongest first, with what they say of the board as games showed that chose neither labels nor thresholds. ✓ and ✗: whether the rules say so here. The figure is F1, or of what is said seldom how often it was right."
            actions={
              <select
                aria-label="Dictionary"
                value={dictionary ?? "none"}
                onChange={(event) => set({ dictionary: event.target.value })}
              >
                {player.dictionaries.map(({ id, name, reads, writes }) => (
                  <option key={id} value={id}>
                    {name} ({reads === writes ? writes : `${reads} → ${writes}`})
                  </option>
                ))}
                <option value="none">none</option>
              </select>
            }
          >
            {move && dictionary && read.data ? (
              <>
                <ProblemList problems={read.data.problems} />
                <FeatureRows
                  key={`${dictionary} ${at}`}
                  dictionary={dictionary}
                  move={move}
                  latents={read.data.latents}
                  labelled={player.labelled.includes(dictionary)}
                  place={place}
                  at={at}
                  size={size}
                  onSpeak={setSpoken}
                />
              </>
            ) : (
              <p className="muted">
                {at === 0
                  ? "Before the first move the model has read nothing."
                  : read.isPending && dictionary
                    ? "They come with the model’s answer."
                    : "No dictionary is chosen."}
              </p>
            )}
          </Panel>
        )}
      </div>
    </div>
  );
}

interface LineProps {
  at: number;
  move: Schemas["MoveRead"] | null;
  read: ReturnType<typeof useRead>;
}

/** What the model says of the position as a whole, or where it is. */
function ModelLine({ at, move, read }: LineProps) {
  if (at === 0) return <p className="muted">Before the first move the model has read nothing.</p>;
  if (read.error) return <Failed error={read.error} retry={() => void read.refetch()} />;
  if (!move) return read.fetchStatus === "fetching" ? <WorkerNote /> : null;
  return (
    <p className="muted">
      {move.legal_mass === null
        ? "The game is over, so no move is legal."
        : `The model gives ${share(move.legal_mass)} to legal moves.`}
    </p>
  );
}

/** A graph named in the address; null where none is. */
function graphOf(text: string | null) {
  const at = text?.lastIndexOf("/") ?? -1;
  return text && at > 0 ? { run: text.slice(0, at), name: text.slice(at + 1) } : null;
}
