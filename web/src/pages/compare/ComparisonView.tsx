import type { Schemas } from "../../api/client";
import { DictionaryName } from "../../ui/DictionaryName";
import { fixed } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { CosineHistogram } from "./CosineHistogram";
import { GroupsPanel } from "./GroupsPanel";
import { NewLatents } from "./NewLatents";
import { ShareTable } from "./ShareTable";

interface Props {
  a: string;
  b: string;
  comparison: Schemas["Comparison"];
}

/** What was found: figures and cosines on top, the latents one by one below. */
export function ComparisonView({ a, b, comparison }: Props) {
  const { narrow, wide, threshold } = comparison;
  return (
    <>
      <div className="columns">
        <Panel
          title="In figures"
          info="Each figure stands beside what it would be for random rows with the mean and the covariance of the wide dictionary's. Only what lies clearly away from chance says something about the two dictionaries."
        >
          <p className="pair-names">
            <span>
              <span className="muted">narrow </span>
              <DictionaryName line={narrow} /> {from(narrow)}
            </span>
            <span>
              <span className="muted">wide </span>
              <DictionaryName line={wide} /> {from(wide)}
            </span>
          </p>
          <ShareTable shares={comparison.shares} />
        </Panel>
        <Panel
          title="How near the nearest is"
          info={`For each latent of the wide dictionary, the cosine of its decoder row with the nearest one of the narrow dictionary. From ${fixed(threshold, 2)} on it counts as a child of that latent; the line is what random rows of the same mean and covariance have.`}
        >
          <CosineHistogram
            found={comparison.cosines}
            chance={comparison.cosines_null}
            threshold={threshold}
          />
        </Panel>
      </div>
      <GroupsPanel a={a} b={b} comparison={comparison} />
      <NewLatents wide={wide.id} latents={comparison.new} threshold={threshold} />
    </>
  );
}

/** Tells apart two that read the same site with the same width. */
function from({ id, run }: Schemas["DictionaryLine"]) {
  return (
    <span className="muted mono" title={run ? `trained in ${run}` : undefined}>
      {id.split(".").at(-1)}
    </span>
  );
}
