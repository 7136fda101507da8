import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "wouter";
import { client, data, type Schemas } from "../../api/client";
import { CopyButton } from "../../ui/CopyButton";
import { count, date, number, seconds } from "../../ui/format";
import { Failed } from "../../ui/states";
import { phaseName } from "../run/phases";
import { ProgressBar } from "../run/ProgressBar";
import { StatusChip } from "../run/StatusChip";

/** One job: where it stands, how long it still takes, and the same as a command. */
export function JobCard({ job, readOnly }: { job: Schemas["JobLine"]; readOnly: boolean }) {
  const queries = useQueryClient();
  const cancel = useMutation({
    mutationFn: () => data(client.DELETE("/api/jobs/{job}", { params: { path: { job: job.id } } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["jobs"] }),
  });
  const active = job.state === "running" || job.state === "waiting";
  return (
    <li className="job">
      <div className="job-head">
        <StatusChip status={job.state} />
        <strong>{job.title}</strong>
        {job.run && <Link href={`/runs/${encodeURIComponent(job.run)}`}>Its run</Link>}
        <time className="muted" dateTime={job.created}>
          {date(job.created)}
        </time>
        {active && !readOnly && (
          <button type="button" disabled={cancel.isPending} onClick={() => cancel.mutate()}>
            {cancel.isPending ? "Stopping …" : job.state === "waiting" ? "Remove" : "Stop"}
          </button>
        )}
      </div>
      {job.state === "running" && (
        <>
          <div className="progress-line">
            <span>{job.phase ? phaseName(job.phase) : "Starting"}</span>
            {job.done !== null && (
              <span>
                {count(job.done)}
                {job.total !== null ? ` of ${count(job.total)}` : ""}
              </span>
            )}
            {job.rate !== null && <span>{number(job.rate, 3)} a second</span>}
            {job.left_s !== null && <span>about {seconds(job.left_s)} left</span>}
          </div>
          <ProgressBar done={job.done} total={job.total} label={`Progress of ${job.title}`} />
        </>
      )}
      {job.message && <p className={job.state === "failed" ? "failed" : "muted"}>{job.message}</p>}
      {job.state === "cancelled" && job.run && (
        <p className="muted">
          It keeps what it had:{" "}
          <Link href={`/jobs?resume=${encodeURIComponent(job.run)}&verb=${job.verb}`}>
            go on with it
          </Link>
          .
        </p>
      )}
      {cancel.error && <Failed error={cancel.error} />}
      <div className="command">
        <pre tabIndex={0} aria-label="The same as a command">
          {job.command}
        </pre>
        <CopyButton text={job.command} name="Copy as command" />
      </div>
    </li>
  );
}
