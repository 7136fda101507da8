import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { count } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { worthComparing } from "./pairs";

const MOST = 8;

/** What a comparison is, and pairs to begin with. */
export function PairIdeas({ lines }: { lines: Schemas["DictionaryLine"][] }) {
  const pairs = worthComparing(lines, MOST);
  return (
    <Panel title="What a comparison tells">
      <p>
        Two dictionaries that write vectors of the same width are compared by their decoder rows.
        Each latent of the wider one is a <em>child</em> of the narrow latent that it is nearest to,
        where they are near enough. A narrow latent with several children has <em>split</em>, with
        one it is <em>carried over</em>, with none it is <em>lost</em>; wide latents without a
        parent are <em>new</em>. Every count stands beside what chance gives.
      </p>
      {pairs.length > 0 && (
        <>
          <h3>Pairs to begin with</h3>
          <ul className="pair-ideas">
            {pairs.map(([a, b]) => (
              <li key={`${a.id} ${b.id}`}>
                <Link href={`/compare?${new URLSearchParams({ a: a.id, b: b.id })}`}>
                  <span className="mono">{a.writes}</span> {count(a.n_latents)} {a.sparsity} with{" "}
                  <span className="mono">{b.writes}</span> {count(b.n_latents)} {b.sparsity}
                </Link>
              </li>
            ))}
          </ul>
        </>
      )}
    </Panel>
  );
}
