import { useDeferredValue, useState } from "react";
import type { Schemas } from "../../api/client";
import { Panel } from "../../ui/Panel";
import { Table } from "../../ui/Table";
import { COLUMNS } from "./dictionaryColumns";

const AT_FIRST = 40;

/** All dictionaries: sortable, filtered by what is typed. */
export function DictionaryPanel({ dictionaries }: { dictionaries: Schemas["DictionaryLine"][] }) {
  const [words, setWords] = useState("");
  const [all, setAll] = useState(false);
  const wanted = useDeferredValue(words).toLowerCase().split(/\s+/).filter(Boolean);
  const fitting = dictionaries.filter((line) => {
    const text = `${line.name} ${line.model} ${line.reads} ${line.writes} ${line.sparsity} ${line.status} ${line.id}`;
    return wanted.every((word) => text.toLowerCase().includes(word));
  });
  const several = new Set(dictionaries.map(({ model }) => model)).size > 1;
  const columns = several ? COLUMNS : COLUMNS.filter(({ id }) => id !== "model");
  const shown = all ? fitting : fitting.slice(0, AT_FIRST);
  return (
    <Panel
      title="Dictionaries"
      info="A dictionary writes an activation as a sum of few of its many latents. A feature is a latent with the text on which it fires."
      actions={
        dictionaries.length > 8 && (
          <input
            type="search"
            value={words}
            placeholder="Filter: site, model, status"
            aria-label="Filter the dictionaries"
            onChange={(event) => setWords(event.target.value)}
          />
        )
      }
    >
      {fitting.length === 0 ? (
        <p className="muted">None of the {dictionaries.length} dictionaries fits.</p>
      ) : (
        <Table
          caption="All dictionaries"
          columns={columns}
          rows={shown}
          rowKey={({ id }) => id}
          sort={{ id: "labels", descending: true }}
        />
      )}
      {shown.length < fitting.length && (
        <p>
          <button type="button" onClick={() => setAll(true)}>
            Show all {fitting.length}
          </button>
        </p>
      )}
    </Panel>
  );
}
