import { useState } from "react";
import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { LineChart } from "../../ui/LineChart";
import { Panel } from "../../ui/Panel";
import { Empty } from "../../ui/states";
import { ArmTable } from "./ArmTable";
import { overPositions } from "./arms";

type Page = Schemas["DictionaryPage"];
type Evaluation = Page["evaluations"][number];

/** How good the dictionary is, beside its baselines; one of its evaluations at a time. */
export function EvaluationTab({ page }: { page: Page }) {
  const [chosen, setChosen] = useState(0);
  const one = page.evaluations[chosen] ?? page.evaluations[0];
  if (!one)
    return (
      <Empty>
        It was not measured yet.{" "}
        {page.line.run && (
          <Link href={`/jobs?verb=evaluate&run=${encodeURIComponent(page.line.run)}`}>
            Evaluate it
          </Link>
        )}
      </Empty>
    );
  return (
    <div className="stack">
      {page.evaluations.length > 1 && (
        <label className="field-line">
          Evaluation{" "}
          <select value={chosen} onChange={(event) => setChosen(Number(event.target.value))}>
            {page.evaluations.map(({ title, run }, i) => (
              <option key={`${run} ${i}`} value={i}>
                {title} · {run}
              </option>
            ))}
          </select>
        </label>
      )}
      <Panel
        title={one.title}
        info="Each row puts something in place of the activation and measures reconstruction and the model's loss. Below each figure stands its 95 % interval; hover a title for its definition."
        actions={<Link href={`/runs/${encodeURIComponent(one.run)}`}>{one.run}</Link>}
      >
        <ArmTable arms={one.arms} />
        {one.notes.length > 0 && (
          <ul className="muted evaluation-notes">
            {one.notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        )}
      </Panel>
      <Positions positions={one.positions} />
    </div>
  );
}

function Positions({ positions }: { positions: Evaluation["positions"] }) {
  const charts = [
    {
      title: "Explained variance",
      lines: overPositions(positions, [["explained_variance_centred", "explained variance"]]),
    },
    {
      title: "CE loss (nats a token)",
      lines: overPositions(positions, [
        ["ce", "with the dictionary"],
        ["ce_clean", "model alone"],
      ]),
    },
  ].filter(({ lines }) => lines.length > 0);
  if (charts.length === 0) return null;
  return (
    <Panel
      title="Along the context"
      info="The same figures for stretches of positions, drawn at their middle. Early positions see little text, so the model itself predicts them worse."
    >
      <div className="charts">
        {charts.map(({ title, lines }) => (
          <figure key={title} className="chart">
            <figcaption>{title}</figcaption>
            <LineChart lines={lines} xLabel="position" yLabel={title} height={230} />
          </figure>
        ))}
      </div>
    </Panel>
  );
}
