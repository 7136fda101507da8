import { useQuery } from "@tanstack/react-query";
import { client, data } from "../../api/client";
import { Panel } from "../../ui/Panel";
import { Empty, Failed, Loading } from "../../ui/states";
import { JobCard } from "./JobCard";
import { StartForm } from "./StartForm";
import "../choice.css";
import "../run/RunPage.css";
import "./JobsPage.css";

/** Long work that the server does in processes of its own: start it, follow it, stop it. */
export default function JobsPage() {
  const {
    data: jobs,
    error,
    refetch,
  } = useQuery({
    queryKey: ["jobs"],
    queryFn: () => data(client.GET("/api/jobs")),
    staleTime: 0,
    refetchInterval: ({ state }) =>
      state.data?.jobs.some((job) => job.state === "running" || job.state === "waiting")
        ? 1000
        : 10_000,
  });
  if (error && !jobs) return <Failed error={error} retry={() => void refetch()} />;
  if (!jobs) return <Loading what="the jobs" />;
  return (
    <div className="stack">
      <header>
        <h1 tabIndex={-1}>Jobs</h1>
        <p className="facts-line">
          Each one is a run of its own, in a process of its own. One works at a time, the others
          wait; it goes on when this page is closed, and ends with the server.
        </p>
      </header>
      {error && <Failed error={error} retry={() => void refetch()} />}
      {jobs.read_only ? (
        <Panel title="Start a job">
          <p className="muted">
            This server is read-only: it starts no jobs. Start it without <code>--read-only</code>,
            or use the commands <code>lmscope train</code>, <code>evaluate</code>,{" "}
            <code>atlas build</code>, <code>explain</code> and <code>geometry</code> in a terminal.
          </p>
        </Panel>
      ) : (
        <StartForm recipes={jobs.recipes} free={jobs.free} />
      )}
      <Panel title="Jobs since the server started">
        {jobs.jobs.length === 0 ? (
          <Empty>None yet. Earlier runs are on the first page.</Empty>
        ) : (
          <ul className="jobs">
            {jobs.jobs.map((job) => (
              <JobCard key={job.id} job={job} readOnly={jobs.read_only} />
            ))}
          </ul>
        )}
      </Panel>
    </div>
  );
}
