import { useState } from "react";
import type { Schemas } from "../../api/client";
import { Panel } from "../../ui/Panel";
import { Table } from "../../ui/Table";
import { COLUMNS } from "./runColumns";

const AT_FIRST = 20;

/** All runs, newest first; running ones say how far they are. */
export function RunPanel({ runs }: { runs: Schemas["RunLine"][] }) {
  const [all, setAll] = useState(false);
  return (
    <Panel
      title="Runs"
      info="A run is one job with its recipe, machine, measurements and results in one folder. Interrupted ones go on with --resume, to the same result."
    >
      <Table
        caption="All runs"
        columns={COLUMNS}
        rows={all ? runs : runs.slice(0, AT_FIRST)}
        rowKey={({ id }) => id}
      />
      {!all && runs.length > AT_FIRST && (
        <p>
          <button type="button" onClick={() => setAll(true)}>
            Show all {runs.length}
          </button>
        </p>
      )}
    </Panel>
  );
}
