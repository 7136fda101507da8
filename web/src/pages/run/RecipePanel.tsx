import { useMemo, useState } from "react";
import { CopyButton } from "../../ui/CopyButton";
import { Panel } from "../../ui/Panel";
import { flattened } from "./results";

/** What was asked, all defaults written out. */
export function RecipePanel({ recipe }: { recipe: Record<string, unknown> }) {
  const [words, setWords] = useState("");
  const rows = useMemo(() => flattened(recipe), [recipe]);
  const found = rows.filter(([key]) => key.toLowerCase().includes(words.trim().toLowerCase()));
  return (
    <Panel
      title="Recipe"
      info="Everything that decides what the run computes, defaults written out. Keys are spelt as --set KEY=VALUE takes them."
      actions={<CopyButton text={rows.map((row) => row.join(" = ")).join("\n")} name="Copy keys" />}
    >
      <input
        type="search"
        aria-label="Filter recipe keys"
        placeholder="Filter keys"
        value={words}
        onChange={(event) => setWords(event.target.value)}
      />
      <dl className="recipe mono" tabIndex={0} aria-label="Recipe keys and values">
        {found.map(([key, value]) => (
          <div key={key}>
            <dt>{key}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {found.length === 0 && <p className="muted">No key has “{words}” in it.</p>}
    </Panel>
  );
}
