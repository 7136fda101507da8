import type { Schemas } from "../../api/client";
import { ScoreStrip } from "./ScoreStrip";

/** How the label that decides was scored, beside what a label that says nothing gets. */
export function ScorePart({ source }: { source: Schemas["LabelSource"] }) {
  return (
    <div className="score-strips">
      {source.scores.map((score) => (
        <ScoreStrip
          key={score.scorer}
          score={score}
          threshold={score.scorer === "detection" ? source.threshold : null}
        />
      ))}
    </div>
  );
}
