import { sequential } from "../../ui/colour";
import type { Measure } from "./measures";

const STEPS = Array.from({ length: 18 }, (_, i) => sequential(i / 17).background);

/** What the colours of the grid mean, from the least to the largest value on it. */
export function ColourBar({
  measure,
  range,
}: {
  measure: Measure;
  range: [number, number] | null;
}) {
  if (!range) return <p className="muted">None of them has this figure yet.</p>;
  const [low, high] = range;
  const name = `Colours from ${measure.format(low)} to ${measure.format(high)}`;
  return (
    <div className="colour-bar" role="img" aria-label={name}>
      <span className="number">{measure.format(low)}</span>
      <span
        className="colour-ramp"
        style={{ background: `linear-gradient(to right, ${STEPS.join(", ")})` }}
      />
      <span className="number">{measure.format(high)}</span>
    </div>
  );
}
