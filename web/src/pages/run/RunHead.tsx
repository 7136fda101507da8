import type { ReactNode } from "react";
import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { date, seconds } from "../../ui/format";
import { StatusChip } from "./StatusChip";

interface Props {
  run: Schemas["RunPage"];
  status: Schemas["RunPage"]["status"];
  elapsed: number;
  actions: ReactNode;
}

/** What the run is and where it stands. */
export function RunHead({ run, status, elapsed, actions }: Props) {
  return (
    <header className="page-head">
      <div>
        <h1 tabIndex={-1}>
          {run.name} <span className="muted">{run.job === run.name ? "" : run.job}</span>
        </h1>
        <p className="facts-line">
          <StatusChip status={status} />
          <span>
            {status === "running" ? "running for" : "took"} {seconds(elapsed)}
          </span>
          <span>began {date(run.started ?? run.created)}</span>
          {run.ended && <span>ended {date(run.ended)}</span>}
          {run.n_resumed > 0 && (
            <span>resumed {run.n_resumed === 1 ? "once" : `${run.n_resumed} times`}</span>
          )}
          <span className="mono run-id">{run.id}</span>
        </p>
      </div>
      <div className="page-actions">
        {run.dictionaries.length > 1 && (
          <Link href={`/suites/${encodeURIComponent(run.id)}`} className="button">
            Grid
          </Link>
        )}
        {run.player && (
          <Link href={`/othello/${encodeURIComponent(run.player)}`} className="button">
            Board
          </Link>
        )}
        {run.job === "trace" && (
          <Link href={`/graphs?run=${encodeURIComponent(run.id)}`} className="button">
            Graphs
          </Link>
        )}
        {status === "done" && (
          <Link href={`/jobs?run=${encodeURIComponent(run.id)}`} className="button">
            Start a job on it
          </Link>
        )}
        {actions}
      </div>
    </header>
  );
}
