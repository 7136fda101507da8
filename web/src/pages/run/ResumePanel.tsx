import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { CopyButton } from "../../ui/CopyButton";

const WORDS: Record<string, string> = { atlas: "atlas build" };
const RESUMABLE = ["train", "evaluate", "atlas", "explain", "geometry"];

/** Why a run did not finish, and how to go on with it. */
export function ResumePanel({ run }: { run: Schemas["RunPage"] }) {
  if (run.status === "done") return null;
  const folder = run.provenance.facts.find(([name]) => name === "folder")?.[1] ?? run.id;
  const command = `lmscope ${WORDS[run.job] ?? run.job} --resume ${quoted(folder)}`;
  return (
    <section className="panel resume" aria-label="Resume">
      {run.error ? (
        <p className="failed" role="alert">
          {run.error}
        </p>
      ) : (
        <p>
          {run.status === "created"
            ? "The run was made and has not begun."
            : "The run stopped before it was done. What it had up to its last checkpoint is kept."}
        </p>
      )}
      <p>Go on with it:</p>
      <div className="command">
        <pre tabIndex={0} aria-label="Command to resume">
          {command}
        </pre>
        <CopyButton text={command} name="Copy as command" />
        {RESUMABLE.includes(run.job) && (
          <Link
            href={`/jobs?resume=${encodeURIComponent(run.id)}&verb=${run.job}`}
            className="button"
          >
            Resume it here
          </Link>
        )}
      </div>
    </section>
  );
}

/** As a shell takes it. */
const quoted = (text: string) =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
