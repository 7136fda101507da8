import type { Schemas } from "../../api/client";
import { Figure } from "../../ui/Figure";
import { count, number, share } from "../../ui/format";
import { Histogram } from "../../ui/Histogram";
import { Panel } from "../../ui/Panel";

/** How often and how widely it fires, and where that stands among all features. */
export function FiguresPanel({ page }: { page: Schemas["FeaturePage"] }) {
  return (
    <Panel title="Where it fires">
      <dl className="figures feature-figures">
        <Figure
          label="Density"
          value={share(page.density)}
          info="The share of the atlas’s tokens on which it is above 0."
        />
        <Figure
          label={`Rank of ${count(page.n_latents)}`}
          value={count(page.density_rank)}
          info="Its rank by density: 1 is the feature that fires most."
        />
        <Figure
          label="Tokens"
          value={count(page.n_fired)}
          info={`On which it fires, in ${count(page.n_stretches)} stretches of text.`}
        />
        <Figure
          label="Documents"
          value={count(page.n_documents)}
          info="In which it fires. A feature of one document only can have a good label that says little elsewhere."
        />
        <Figure
          label="Top document"
          value={share(page.document_share)}
          info="The share of its firings in the document that has most of them: near 100 % it is about that document."
        />
        <Figure
          label="Mean · max"
          value={
            <>
              {number(page.mean)} <span className="muted">·</span> {number(page.max)}
            </>
          }
          info="Of its activation where it fires, in the dictionary’s units. The largest one is the full shade of all text here."
        />
      </dl>
      {page.densities && (
        <Histogram
          histogram={page.densities}
          xLabel="density"
          yLabel="features of this dictionary"
          marker={{ value: page.density, label: "this one" }}
          height={150}
        />
      )}
    </Panel>
  );
}
