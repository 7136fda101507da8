import type { Schemas } from "../../api/client";
import { Panel } from "../../ui/Panel";
import { flattened } from "./results";

/** On what the run computed, with which weights, and which files it left. */
export function MachinePanel({ run }: { run: Schemas["RunPage"] }) {
  const facts = [
    ...flattened(run.machine),
    ...Object.entries(run.weights).map(([name, hash]) => [`weights of ${name}`, hash]),
  ];
  return (
    <Panel title="Machine and files">
      <dl className="recipe mono">
        {facts.map(([name = "", value = ""]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value.replaceAll('"', "")}</dd>
          </div>
        ))}
      </dl>
      {run.artifacts.length > 0 && (
        <details className="artifacts">
          <summary>{run.artifacts.length} files and folders below artifacts</summary>
          <ul className="mono">
            {run.artifacts.map((path) => (
              <li key={path}>{path}</li>
            ))}
          </ul>
        </details>
      )}
    </Panel>
  );
}
