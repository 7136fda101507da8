import { Info } from "../../ui/Info";
import type { Draft, VerbForm } from "./recipe";

interface Props {
  form: VerbForm;
  draft: Draft;
  onChange: (changes: Partial<Draft>) => void;
}

/** A few everyday options, and any other key of the recipe. */
export function OptionFields({ form, draft, onChange }: Props) {
  return (
    <>
      <div className="option-fields">
        {form.fields.map(({ key, title, info, absent, kind }) => (
          <div key={key} className="field">
            <span>
              <label htmlFor={`option-${key}`}>{title}</label> <Info about={title}>{info}</Info>
            </span>
            <input
              id={`option-${key}`}
              inputMode={kind === "text" ? "text" : "decimal"}
              placeholder={absent}
              value={draft.values[key] ?? ""}
              onChange={(event) =>
                onChange({ values: { ...draft.values, [key]: event.target.value } })
              }
            />
          </div>
        ))}
      </div>
      <details>
        <summary>More keys of the recipe</summary>
        <label className="field">
          <span>One KEY=VALUE a line, as --set takes them</span>
          <textarea
            className="mono"
            rows={3}
            spellCheck={false}
            placeholder={"census.batch_tokens=2048"}
            value={draft.more}
            onChange={(event) => onChange({ more: event.target.value })}
          />
        </label>
      </details>
    </>
  );
}
