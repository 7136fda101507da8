import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { fixedShare } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { Empty, Failed, Loading } from "../../ui/states";
import { type Column, Table } from "../../ui/Table";
import { StatusChip } from "../run/StatusChip";
import { usePlayers } from "./useBoard";

type Line = Schemas["PlayerLine"];

const COLUMNS: Column<Line>[] = [
  {
    id: "name",
    title: "Player",
    cell: ({ run, name, status }) =>
      status === "done" ? (
        <Link href={`/othello/${encodeURIComponent(run)}`}>
          <bdi>{name}</bdi>
        </Link>
      ) : (
        <bdi>{name}</bdi>
      ),
    value: ({ name }) => name,
  },
  {
    id: "size",
    title: "Board",
    cell: ({ size }) => `${size} by ${size}`,
    value: ({ size }) => size,
  },
  {
    id: "legal",
    title: "Legal",
    info: "Share of positions of games it never saw in which its likeliest next move is legal.",
    numeric: true,
    cell: (line) => fixedShare(line.legal_top1, 1),
    value: (line) => line.legal_top1 ?? null,
  },
  {
    id: "dictionaries",
    title: "Dictionaries",
    numeric: true,
    cell: (line) => line.n_dictionaries,
    value: (line) => line.n_dictionaries,
  },
  { id: "status", title: "Training", cell: ({ status }) => <StatusChip status={status} /> },
  {
    id: "run",
    title: "Run",
    cell: ({ run }) => (
      <Link href={`/runs/${encodeURIComponent(run)}`} className="mono">
        {run}
      </Link>
    ),
    value: ({ run }) => run,
  },
];

/** All players of Othello under the served folders; each has a board. */
export default function PlayersPage() {
  const players = usePlayers();
  return (
    <div className="stack">
      <h1>Othello</h1>
      {players.error ? (
        <Failed error={players.error} retry={() => void players.refetch()} />
      ) : !players.data ? (
        <Loading what="players" />
      ) : players.data.players.length === 0 ? (
        <Empty>
          No player is served. <code>lmscope othello train othello-6x6</code> trains one.
        </Empty>
      ) : (
        <Panel
          title="Players"
          info="Models that were trained on random games. Each has a board: its games move by move, what the model makes of them, and squares whose logits can be traced."
        >
          <Table
            caption="Players of Othello"
            columns={COLUMNS}
            rows={players.data.players}
            rowKey={({ run }) => run}
          />
        </Panel>
      )}
    </div>
  );
}
