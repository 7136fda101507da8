import { useMemo, useState } from "react";
import { Empty, Failed, Loading } from "../../ui/states";
import { LineChart } from "../../ui/LineChart";
import { Panel } from "../../ui/Panel";
import { definition } from "../definitions";
import { type Chart, chartsOf, constant, type Line, ownersOf } from "./curves";
import { OwnerChoice } from "./OwnerChoice";

interface Props {
  lines: readonly Line[];
  loading: boolean;
  failed: unknown;
  running: boolean;
}

const SHOWN_AT_FIRST = 6;

/** Metrics by step: a chart a metric, a line a dictionary. */
export function CurvesPanel({ lines, loading, failed, running }: Props) {
  const owners = useMemo(() => ownersOf(lines.map(({ name }) => name)), [lines]);
  const [chosen, setChosen] = useState<ReadonlySet<string> | null>(null);
  const [logY, setLogY] = useState(false);
  const shown = useMemo(() => chosen ?? new Set(owners.slice(0, SHOWN_AT_FIRST)), [chosen, owners]);
  const charts = useMemo(() => chartsOf(lines, shown), [lines, shown]);
  const flat = charts.filter((chart) => constant(chart) !== null);
  const drawn = charts.filter((chart) => constant(chart) === null);
  return (
    <Panel
      title="Curves"
      info="Metrics by optimiser step; drag over a chart to zoom in, double-click to see all of it. Long curves are thinned to the least and the largest value of each stretch."
      actions={
        <label>
          <input type="checkbox" checked={logY} onChange={() => setLogY(!logY)} /> log scale
        </label>
      }
    >
      {failed ? <Failed error={failed} /> : null}
      {loading && <Loading what="the curves" />}
      {!loading && !failed && lines.length === 0 && (
        <Empty>
          {running
            ? "Nothing is measured yet: the first step's metrics appear here by themselves."
            : "This run wrote no metrics by step."}
        </Empty>
      )}
      {owners.length > 1 && <OwnerChoice owners={owners} chosen={shown} onChoose={setChosen} />}
      <div className="charts">
        {drawn.map((chart) => (
          <ChartFigure key={chart.metric} chart={chart} logY={logY} />
        ))}
      </div>
      {flat.length > 0 && (
        <p className="muted flat-metrics">
          The same at every step:{" "}
          {flat.map((chart) => `${definition(chart.metric).title} ${say(chart)}`).join(" · ")}
        </p>
      )}
    </Panel>
  );
}

const say = (chart: Chart) => definition(chart.metric).format(constant(chart));

function ChartFigure({ chart, logY }: { chart: Chart; logY: boolean }) {
  const { title, info } = definition(chart.metric);
  const positive = chart.lines.every(({ y }) => y.every((value) => value === null || value >= 0));
  return (
    <figure className="chart">
      <figcaption title={info}>{title}</figcaption>
      <LineChart
        lines={chart.lines}
        xLabel="step"
        yLabel={title}
        logY={logY && positive}
        height={210}
      />
    </figure>
  );
}
