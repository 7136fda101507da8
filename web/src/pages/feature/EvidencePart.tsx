import type { Schemas } from "../../api/client";
import { count, share } from "../../ui/format";
import { Info } from "../../ui/Info";
import { ScoreStrip } from "./ScoreStrip";

interface Props {
  page: Schemas["FeaturePage"];
  showMissed: () => void;
}

/** How the label was tested: scores beside chance, the rule's precision and recall, counter-examples. */
export function EvidencePart({ page, showMissed }: Props) {
  const [source, ...others] = page.sources;
  if (!source) return null;
  return (
    <div className="evidence">
      <div className="score-strips">
        {source.scores.map((score) => (
          <ScoreStrip
            key={score.scorer}
            score={score}
            threshold={score.scorer === "detection" ? source.threshold : null}
          />
        ))}
      </div>
      <ul className="evidence-facts">
        <li className="muted">
          {source.explainer}
          {source.run ? `, ${source.run}` : ""}
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
        {page.missed.length > 0 && (
          <li>
            <button type="button" className="small against" onClick={showMissed}>
              <span aria-hidden="true">≠</span> {count(page.missed.length)} against the label
            </button>
          </li>
        )}
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
