import { number } from "../../ui/format";
import { inUnits, PRESETS, type SteerForm, type SteerKind } from "./steering";

interface Props {
  kind: SteerKind;
  amount: string;
  /** The largest activation in the atlas. */
  max: number;
  onChange: (part: Partial<SteerForm>) => void;
}

/** How much: multiples of the largest activation, or a number of one's own. */
export function SteerAmount({ kind, amount, max, onChange }: Props) {
  const units = inUnits(amount, max);
  return (
    <span className="steer-amount">
      <span className="segments" role="group" aria-label="Amounts">
        {PRESETS[kind].map((preset) => (
          <button
            key={preset}
            type="button"
            className="small"
            aria-pressed={amount.trim() === preset}
            title={`${preset.slice(0, -1).replace("-", "−")} times its largest activation`}
            onClick={() => onChange({ amount: preset })}
          >
            {preset.replace("x", "×").replace("-", "−")}
          </button>
        ))}
      </span>
      <input
        aria-label="Amount: a number, or a multiple of the largest activation such as 2x"
        title="A number in the dictionary’s units, or with an x a multiple of its largest activation"
        size={6}
        maxLength={32}
        value={amount}
        onChange={(event) => onChange({ amount: event.target.value })}
      />
      {units !== null && (
        <span
          className="muted"
          title="The multiple is of its largest activation on held-out text; the one in the atlas may differ a little"
        >
          about {number(units, 2)}
        </span>
      )}
    </span>
  );
}
