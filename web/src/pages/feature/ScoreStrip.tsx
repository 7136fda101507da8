import type { Schemas } from "../../api/client";
import { fixed } from "../../ui/format";
import { Info } from "../../ui/Info";

interface Props {
  score: Schemas["ScoreLine"];
  /** What the lower end has to reach for the label to be shown. */
  threshold: number | null;
}

/** Nothing reads as minus zero. */
const two = (x: number | null) => fixed(x !== null && Math.abs(x) < 0.005 ? 0 : x, 2);
const percent = (x: number) => `${(100 * Math.min(1, Math.max(0, x))).toFixed(1)}%`;

/** One score with its interval on a line from 0 to 1, beside what a label that says nothing gets. */
export function ScoreStrip({ score, threshold }: Props) {
  const { value, low, high, n } = score.estimate;
  const drawn = value !== null && value <= 1 && score.chance !== null;
  const range =
    low !== null && low !== undefined && high !== null && high !== undefined ? { low, high } : null;
  return (
    <div className="score">
      <span className="score-name">
        {score.scorer}{" "}
        <Info about={score.scorer}>
          {score.meaning}
          {score.chance !== null && ` A label that says nothing gets ${fixed(score.chance, 2)}.`}
          {threshold !== null &&
            ` A label is shown if the lower end of the interval reaches ${fixed(threshold, 2)}.`}
          {n !== null && n !== undefined && ` Asked about ${n} stretches or tokens.`}
        </Info>
      </span>
      <span className="strip" aria-hidden="true">
        {drawn && (
          <>
            {score.chance !== null && (
              <span className="strip-chance" style={{ width: percent(score.chance) }} />
            )}
            {threshold !== null && (
              <span
                className="strip-threshold"
                style={{ left: percent(threshold) }}
                title={`threshold ${fixed(threshold, 2)}`}
              />
            )}
            {range && (
              <span
                className="strip-range"
                style={{
                  left: percent(range.low),
                  width: percent(Math.min(1, range.high) - Math.max(0, range.low)),
                }}
              />
            )}
            <span className="strip-dot" style={{ left: percent(value) }} />
          </>
        )}
      </span>
      <span className="score-value">
        <strong>{two(value)}</strong>{" "}
        <span className="muted" title="95 % interval">
          {range ? `${two(range.low)} – ${two(range.high)}` : ""}
        </span>
      </span>
      <span className="score-chance muted">
        {score.chance === null ? "" : `chance ${fixed(score.chance, score.chance === 0 ? 0 : 1)}`}
      </span>
    </div>
  );
}
