import { fixed, fixedShare, number } from "../../ui/format";
import { type Column, Table } from "../../ui/Table";
import type { GraphPage } from "./useGraph";

type Faith = GraphPage["record"]["faithfulness"][number];
type Sweep = GraphPage["record"]["sweep"][number];

const FAITH: Column<Faith>[] = [
  {
    id: "where",
    title: "In the",
    cell: ({ where }) => (where === "linear" ? "linear model" : "model itself"),
  },
  {
    id: "errors",
    title: "Errors",
    info: "What dictionaries miss: left in, or taken away with the other features.",
    cell: ({ errors }) => errors,
  },
  {
    id: "baseline",
    title: "Silenced to",
    info: "What features outside the circuit become.",
    cell: ({ baseline }) => baseline,
  },
  {
    id: "full",
    title: "Target",
    info: "With all features.",
    numeric: true,
    cell: ({ full }) => number(full, 4),
  },
  {
    id: "empty",
    title: "No feature",
    info: "With all features silenced.",
    numeric: true,
    cell: ({ empty }) => number(empty, 4),
  },
  {
    id: "kept",
    title: "Circuit",
    info: "With the features of the circuit alone.",
    numeric: true,
    cell: ({ kept }) => number(kept, 4),
  },
  {
    id: "faithfulness",
    title: "Faithful",
    info: "How much of the way from no feature to all the circuit alone goes: 1 is all.",
    numeric: true,
    cell: ({ faithfulness }) => fixed(faithfulness),
  },
  {
    id: "completeness",
    title: "Left out",
    info: "The same of the features outside the circuit: 0 means that nothing was missed.",
    numeric: true,
    cell: ({ completeness }) => fixed(completeness),
  },
];
const SWEEP: Column<Sweep>[] = [
  {
    id: "threshold",
    title: "Threshold",
    info: "Share of the target below which a feature is not traced further.",
    numeric: true,
    cell: ({ threshold }) => number(threshold),
    value: ({ threshold }) => threshold,
  },
  {
    id: "n",
    title: "Features",
    numeric: true,
    cell: ({ n_features: n }) => n,
    value: ({ n_features: n }) => n,
  },
  {
    id: "recovered",
    title: "Recovered",
    info: "Share of the target that comes from tokens and positions through what is kept.",
    numeric: true,
    cell: ({ recovered }) => fixedShare(recovered, 1),
    value: ({ recovered }) => recovered,
  },
  { id: "errors", title: "Errors", numeric: true, cell: ({ errors }) => number(errors) },
  { id: "cut", title: "Cut", numeric: true, cell: ({ cut }) => number(cut) },
  { id: "residual", title: "Residual", numeric: true, cell: ({ residual }) => number(residual, 2) },
];

/** Whether the circuit does what it says, and what other thresholds would have left. */
export function Trials({ page }: { page: GraphPage }) {
  const { faithfulness, sweep } = page.record;
  return (
    <div className="columns">
      <section>
        <h3>What the circuit alone brings about</h3>
        {faithfulness.length > 0 ? (
          <Table
            caption="Faithfulness"
            columns={FAITH}
            rows={faithfulness}
            rowKey={({ where, errors, baseline }) => `${where} ${errors} ${baseline}`}
          />
        ) : (
          <p className="muted">
            It was not tried: the graph was traced with <code>--unverified</code>, or no dictionary
            stands in it.
          </p>
        )}
      </section>
      <section>
        <h3>What other thresholds leave</h3>
        {sweep.length > 0 ? (
          <Table
            caption="Thresholds"
            columns={SWEEP}
            rows={sweep}
            rowKey={({ threshold }) => threshold}
          />
        ) : (
          <p className="muted">
            None was tried; <code>lmscope trace --sweep</code> tries some.
          </p>
        )}
      </section>
    </div>
  );
}
