import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { date, NONE, seconds } from "../../ui/format";
import type { Column } from "../../ui/Table";
import { StatusChip } from "../run/StatusChip";
import { RunProgress } from "./RunProgress";

/** The columns of the list of runs. */
export const COLUMNS: Column<Schemas["RunLine"]>[] = [
  {
    id: "name",
    title: "Run",
    cell: (run) => (
      <Link href={`/runs/${encodeURIComponent(run.id)}`} className="dictionary-name" title={run.id}>
        {run.name || run.id}
      </Link>
    ),
    value: (run) => run.name || run.id,
  },
  { id: "job", title: "Job", cell: (run) => run.job, value: (run) => run.job },
  {
    id: "status",
    title: "Status",
    cell: (run) =>
      run.status === "running" ? (
        <RunProgress run={run.id} name={run.name || run.id} />
      ) : (
        <>
          <StatusChip status={run.status} />
          {run.error && <span className="run-error">{run.error}</span>}
        </>
      ),
    value: (run) => run.status,
  },
  {
    id: "created",
    title: "Started",
    info: "In your time zone",
    numeric: true,
    cell: (run) => <time dateTime={run.created}>{date(run.created)}</time>,
    value: (run) => run.created,
  },
  {
    id: "elapsed",
    title: "Time",
    info: "Time that it has run, pauses left out",
    numeric: true,
    cell: (run) => seconds(run.elapsed_s),
    value: (run) => run.elapsed_s,
  },
  {
    id: "dictionaries",
    title: "Dictionaries",
    numeric: true,
    cell: (run) => (run.n_dictionaries > 0 ? run.n_dictionaries : NONE),
    value: (run) => run.n_dictionaries,
  },
];
