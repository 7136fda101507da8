import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { Panel } from "../../ui/Panel";
import { StatusChip } from "../run/StatusChip";
import { counted } from "./words";

/** Runs that trained several dictionaries; each opens its grid. */
export function SuitePanel({ suites }: { suites: Schemas["SuiteLine"][] }) {
  return (
    <Panel
      title="Suites"
      info="A suite is a run that trained several dictionaries at once: layer by position by width. It opens as a grid."
    >
      <ul className="cards">
        {suites.map(({ run, name, model, n_dictionaries, n_measured, status }) => (
          <li key={run}>
            <Link href={`/suites/${encodeURIComponent(run)}`} className="card">
              <span className="card-top">
                <strong>{name}</strong> <StatusChip status={status} />
              </span>
              <span>
                {counted(n_dictionaries, "dictionary", "dictionaries")} · {n_measured} measured
              </span>
              {model && <span>{model}</span>}
              <span className="muted mono card-id">{run}</span>
            </Link>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
