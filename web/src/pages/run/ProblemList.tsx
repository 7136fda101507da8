import type { Schemas } from "../../api/client";
import "./ProblemList.css";

type Problems = Schemas["Problem"][];

const AT_FIRST = 3;

/** What could not be shown, and why; nothing where there is nothing to say. */
export function ProblemList({ problems }: { problems: Problems }) {
  if (problems.length === 0) return null;
  const more = problems.slice(AT_FIRST);
  return (
    <section className="problems" aria-label="Problems">
      <strong>Not everything could be shown:</strong>
      <Lines problems={problems.slice(0, AT_FIRST)} />
      {more.length > 0 && (
        <details>
          <summary>{more.length} more</summary>
          <Lines problems={more} />
        </details>
      )}
    </section>
  );
}

function Lines({ problems }: { problems: Problems }) {
  return (
    <ul>
      {problems.map(({ where, message }) => (
        <li key={`${where} ${message}`}>
          <span className="mono">{where}</span> {message}
        </li>
      ))}
    </ul>
  );
}
