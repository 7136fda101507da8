import { useState } from "react";
import type { Schemas } from "../../api/client";
import { count } from "../../ui/format";
import { Empty } from "../../ui/states";

type Line = Schemas["DictionaryLine"];

interface Props {
  lines: Line[];
  a: string;
  b: string;
  onChoose: (pair: { a: string; b: string }) => void;
}

/** Two lists to choose from; the second one puts what fits the first one on top. */
export function PairForm({ lines, a, b, onChoose }: Props) {
  const [first, setFirst] = useState(a);
  const [second, setSecond] = useState(b);
  const chosen = lines.find(({ id }) => id === first);
  const others = lines.filter(({ id }) => id !== first);
  const fits = others.filter((line) => chosen === undefined || line.model === chosen.model);
  const rest = others.filter((line) => !fits.includes(line));
  if (lines.length < 2)
    return (
      <Empty>
        {lines.length === 0
          ? "There is no dictionary under the served folders."
          : "There is only one dictionary under the served folders; a comparison takes two."}
      </Empty>
    );
  return (
    <form
      className="panel pair-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (first && second && first !== second) onChoose({ a: first, b: second });
      }}
    >
      <label>
        One dictionary
        <select required value={first} onChange={(event) => setFirst(event.target.value)}>
          <option value="">choose …</option>
          <Options lines={lines} />
        </select>
      </label>
      <button
        type="button"
        aria-label="Swap the two"
        title="Swap the two"
        onClick={() => {
          setFirst(second);
          setSecond(first);
        }}
      >
        ⇄
      </button>
      <label>
        Another
        <select required value={second} onChange={(event) => setSecond(event.target.value)}>
          <option value="">choose …</option>
          <optgroup label={chosen?.model ? `of ${chosen.model}` : "all"}>
            <Options lines={fits} />
          </optgroup>
          {rest.length > 0 && (
            <optgroup label="of other models">
              <Options lines={rest} />
            </optgroup>
          )}
        </select>
      </label>
      <button type="submit" className="primary" disabled={!first || !second || first === second}>
        Compare
      </button>
    </form>
  );
}

function Options({ lines }: { lines: Line[] }) {
  return lines.map((line) => (
    <option key={line.id} value={line.id}>
      {line.reads === line.writes ? line.reads : `${line.reads} → ${line.writes}`},{" "}
      {count(line.n_latents)} {line.sparsity}, {line.id.split(".").at(-1)}
    </option>
  ));
}
