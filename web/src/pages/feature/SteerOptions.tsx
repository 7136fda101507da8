import type { SteerForm } from "./steering";

interface Props {
  form: SteerForm;
  onChange: (part: Partial<SteerForm>) => void;
}

const NUMBERS = [
  ["tokens", "New tokens", "At most; from 1 to 256"],
  ["temperature", "Temperature", "0 takes the most probable token each time"],
  ["seed", "Seed", "Of the tokens that are drawn, and of the random direction"],
] as const;

/** How the text goes on. */
export function SteerOptions({ form, onChange }: Props) {
  return (
    <div className="steer-options">
      <label title="Put the prompt through the model’s chat template">
        <input
          type="checkbox"
          checked={form.chat}
          onChange={(event) => onChange({ chat: event.target.checked })}
        />{" "}
        Chat
      </label>
      <label>
        Where{" "}
        <select
          value={form.where}
          onChange={(event) => onChange({ where: event.target.value as SteerForm["where"] })}
        >
          <option value="all">all tokens</option>
          <option value="prompt">the prompt only</option>
          <option value="generated">new tokens only</option>
        </select>
      </label>
      {NUMBERS.map(([name, title, meaning]) => (
        <label key={name} title={meaning}>
          {title}{" "}
          <input
            inputMode="decimal"
            size={name === "seed" ? 5 : 3}
            value={form[name]}
            onChange={(event) => onChange({ [name]: event.target.value })}
          />
        </label>
      ))}
    </div>
  );
}
