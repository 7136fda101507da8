import type { Schemas } from "../../api/client";
import { count, share } from "../../ui/format";
import { Info } from "../../ui/Info";

interface Props {
  page: Schemas["FeaturePage"];
  showMissed: () => void;
}

/** Who wrote the label, how its rule did, what speaks against it, and what others wrote. */
export function EvidencePart({ page, showMissed }: Props) {
  const [source, ...others] = page.sources;
  if (!source) return null;
  return (
    <div className="evidence">
      <ul className="evidence-facts">
        <li className="muted" title={source.run ? `in the run ${source.run}` : undefined}>
          written by {source.explainer}
          {source.judge ? `, judged by ${source.judge}` : ""}
        </li>
        {source.precision !== null && (
          <li>
            precision {share(source.precision)}, recall {share(source.recall)}{" "}
            <Info about="precision and recall">
              Of its own rule, on the text that the explainer read. Precision: of the stretches that
              the rule names, the share that fires, if as many fired as did not. Recall: of the
              stretches that fire, the share that it names.
            </Info>
          </li>
        )}
        <Against page={page} showMissed={showMissed} />
      </ul>
      {others.length > 0 && (
        <details className="other-labels">
          <summary>
            {others.length === 1 ? "Another label" : `${others.length} other labels`}
          </summary>
          <ul>
            {others.map((other, i) => (
              <li key={i}>
                <bdi>{other.label || "said nothing"}</bdi>{" "}
                <span className="muted">
                  {other.known ? "known" : "not known"} · {other.explainer}
                  {other.run ? ` · ${other.run}` : ""}
                </span>
              </li>
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}

/** Examples on which it fires although the label says that it does not: how many, and the way to them. */
function Against({ page, showMissed }: Props) {
  const { n_missed: missed, n_promised: asked } = page;
  if (page.missed.length === 0)
    return missed === 0 && asked ? (
      <li>none of {count(asked)} examples speaks against it</li>
    ) : null;
  return (
    <li>
      <button type="button" className="small against" onClick={showMissed}>
        <span aria-hidden="true">≠</span> {count(missed ?? page.missed.length)}
        {asked ? ` of ${count(asked)}` : ""} examples against it
      </button>
    </li>
  );
}
