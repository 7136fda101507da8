import type { Schemas } from "../../api/client";

const SHOWN = 3;

/** What lies under the served folders and cannot be shown; the rest is. */
export function ProblemPanel({ problems }: { problems: Schemas["Problem"][] }) {
  const more = problems.slice(SHOWN);
  return (
    <section className="problems" aria-labelledby="problems">
      <h2 id="problems">
        {problems.length === 1
          ? "One thing cannot be shown"
          : `${problems.length} things cannot be shown`}
      </h2>
      <ProblemList problems={problems.slice(0, SHOWN)} />
      {more.length > 0 && (
        <details>
          <summary>{more.length} more</summary>
          <ProblemList problems={more} />
        </details>
      )}
    </section>
  );
}

function ProblemList({ problems }: { problems: Schemas["Problem"][] }) {
  return (
    <ul>
      {problems.map(({ where, message }, i) => (
        <li key={i}>
          <code>{where}</code> {message}
        </li>
      ))}
    </ul>
  );
}
