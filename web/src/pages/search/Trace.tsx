import { memo } from "react";

interface Props {
  values: number[];
  /** The activation that reaches the top. */
  full: number;
  /** Place that is marked. */
  at: number | null;
}

const WIDTH = 160;
const HEIGHT = 20;

/** A latent's activations over a text, as small bars. */
export const Trace = memo(function Trace({ values, full, at }: Props) {
  const step = WIDTH / Math.max(1, values.length);
  const top = Math.max(full, ...values, 1e-12);
  return (
    <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} aria-hidden="true">
      {at !== null && (
        <rect className="trace-at" x={at * step} y={0} width={Math.max(1, step)} height={HEIGHT} />
      )}
      <line x1={0} x2={WIDTH} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} className="trace-ground" />
      {values.map((value, place) => {
        if (value <= 0) return null;
        const height = Math.max(1.5, (value / top) * (HEIGHT - 1));
        return (
          <rect
            key={place}
            x={place * step}
            y={HEIGHT - height}
            width={Math.max(1, step - (step > 3 ? 1 : 0))}
            height={height}
          />
        );
      })}
    </svg>
  );
});
