import type { Schemas } from "../../api/client";

/** What could not be shown, and why; nothing where there is nothing to say. */
export function ProblemList({ problems }: { problems: Schemas["Problem"][] }) {
  if (problems.length === 0) return null;
  return (
    <section className="problems" aria-label="Problems">
      <strong>Not everything could be shown:</strong>
      <ul>
        {problems.map(({ where, message }) => (
          <li key={`${where} ${message}`}>
            <span className="mono">{where}</span> {message}
          </li>
        ))}
      </ul>
    </section>
  );
}
