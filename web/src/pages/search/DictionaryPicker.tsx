import { useState } from "react";
import type { Schemas } from "../../api/client";
import { count } from "../../ui/format";

type Line = Schemas["DictionaryLine"];

interface Props {
  lines: Line[];
  /** Ids; empty: all. */
  chosen: string[];
  onChange: (chosen: string[]) => void;
  /** Said where none is chosen. */
  whenNone: string;
}

const MANY = 12;

/** Boxes to tick, folded away: which dictionaries are asked. */
export function DictionaryPicker({ lines, chosen, onChange, whenNone }: Props) {
  const [filter, setFilter] = useState("");
  const known = new Set(lines.map(({ id }) => id));
  const ticked = chosen.filter((id) => known.has(id));
  const shown = lines.filter((line) => describe(line).includes(filter.trim().toLowerCase()));
  const toggle = (id: string) =>
    onChange(ticked.includes(id) ? ticked.filter((one) => one !== id) : [...ticked, id]);
  return (
    <details className="picker">
      <summary>
        {ticked.length === 0 ? whenNone : `${ticked.length} of ${lines.length} dictionaries`}
      </summary>
      <fieldset>
        <legend className="off-screen">Dictionaries</legend>
        {lines.length > MANY && (
          <input
            type="search"
            aria-label="Show dictionaries with"
            placeholder="layer, site or model"
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
        )}
        <div className="picker-list">
          {shown.map((line) => (
            <label key={line.id}>
              <input
                type="checkbox"
                checked={ticked.includes(line.id)}
                onChange={() => toggle(line.id)}
              />
              <span className="mono">
                {line.reads === line.writes ? line.reads : `${line.reads} → ${line.writes}`}
              </span>
              <span className="muted">
                {count(line.n_latents)} {line.sparsity}
              </span>
            </label>
          ))}
          {shown.length === 0 && <p className="muted">No dictionary has “{filter}” in its name.</p>}
        </div>
        {ticked.length > 0 && (
          <button type="button" className="small" onClick={() => onChange([])}>
            Choose none
          </button>
        )}
      </fieldset>
    </details>
  );
}

const describe = (line: Line) =>
  `${line.model ?? ""} ${line.name} ${line.reads} ${line.writes}`.toLowerCase();
