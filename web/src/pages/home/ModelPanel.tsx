import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { count } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { counted } from "./words";

/** The models that were studied; each opens the grid of all its dictionaries. */
export function ModelPanel({ models }: { models: Schemas["ModelLine"][] }) {
  return (
    <Panel
      title="Models"
      info="The language models whose activations were read. Two models of one name with other weights are two models."
    >
      <ul className="cards">
        {models.map(({ id, name, weights_hash, n_dictionaries, n_runs }) => (
          <li key={id}>
            <Link href={`/models/${encodeURIComponent(id)}`} className="card">
              <strong>{name}</strong>
              <span>
                {counted(n_dictionaries, "dictionary", "dictionaries")} ·{" "}
                {counted(n_runs, "run", "runs")}
              </span>
              {weights_hash && (
                <span className="muted mono" title={`Hash of its weights: ${weights_hash}`}>
                  weights {weights_hash.slice(0, 12)}
                </span>
              )}
            </Link>
          </li>
        ))}
      </ul>
      {models.length > 12 && <p className="muted">{count(models.length)} models</p>}
    </Panel>
  );
}
