import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { FeatureLink } from "../../ui/FeatureLink";
import { fixed } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { Tabs } from "../../ui/Tabs";
import { percent } from "./logic";
import { TokenChip } from "./TokenChip";

/** Features that write nearly the same, and features that fire at the same places. */
export function RelatedPanel({ page }: { page: Schemas["FeaturePage"] }) {
  if (page.neighbours.length === 0 && page.coactive.length === 0) return null;
  const near = `${page.dictionary.id}/${page.latent}`;
  return (
    <Panel
      title="Related features"
      actions={
        <Link href={`/search?kind=near&q=${encodeURIComponent(near)}`}>in all dictionaries</Link>
      }
    >
      <Tabs
        label="Related features"
        tabs={[
          {
            id: "neighbours",
            title: "Same direction",
            content: (
              <Lines
                page={page}
                related={page.neighbours}
                name="cosine"
                meaning="Cosine of the decoder rows: 1 writes the same, 0 has nothing to do with it."
              />
            ),
          },
          {
            id: "coactive",
            title: "Same places",
            content: (
              <Lines
                page={page}
                related={page.coactive}
                name="overlap"
                meaning="Positions on which both fire, of those on which either does (Jaccard), counted on a sample."
              />
            ),
          },
        ]}
      />
    </Panel>
  );
}

const isKnown = (label: string) => label !== "" && label !== "not known";

interface LinesProps {
  page: Schemas["FeaturePage"];
  related: Schemas["Related"][];
  name: string;
  meaning: string;
}

function Lines({ page, related, name, meaning }: LinesProps) {
  if (related.length === 0) return <p className="muted">The atlas holds none.</p>;
  return (
    <table className="related">
      <thead>
        <tr>
          <th scope="col">feature</th>
          <th scope="col" className="number" title={meaning}>
            {name}
          </th>
          <th scope="col" className="number" title="The share of tokens on which it fires">
            density
          </th>
        </tr>
      </thead>
      <tbody>
        {related.map((one) => (
          <tr key={one.latent}>
            <td>
              <FeatureLink dictionary={page.dictionary.id} latent={one.latent} label={one.label} />
              {!isKnown(one.label) && one.peak && (
                <span className="muted" title="The token on which it peaks most often">
                  {" "}
                  <TokenChip text={one.peak} />
                </span>
              )}
            </td>
            <td className="number">{fixed(one.value, 2)}</td>
            <td className="number">{percent(one.density)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
