import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { LineChart } from "../../ui/LineChart";
import { Panel } from "../../ui/Panel";
import { Empty } from "../../ui/states";
import { definition } from "../definitions";
import { chartsOf, constant } from "../run/curves";

/** Its training by step. */
export function TrainingTab({ page }: { page: Schemas["DictionaryPage"] }) {
  const charts = chartsOf(page.curves, new Set());
  const flat = charts.filter((chart) => constant(chart) !== null);
  if (charts.length === 0)
    return <Empty>The run that trained it is not here, so there are no curves.</Empty>;
  return (
    <Panel
      title="Training"
      info="Its metrics by optimiser step. Drag over a chart to zoom in, double-click to see all of it."
      actions={
        page.line.run && (
          <Link href={`/runs/${encodeURIComponent(page.line.run)}`}>The whole run</Link>
        )
      }
    >
      <div className="charts">
        {charts
          .filter((chart) => !flat.includes(chart))
          .map(({ metric, lines }) => {
            const { title, info } = definition(metric);
            return (
              <figure key={metric} className="chart">
                <figcaption title={info}>{title}</figcaption>
                <LineChart lines={lines} xLabel="step" yLabel={title} height={210} />
              </figure>
            );
          })}
      </div>
      {flat.length > 0 && (
        <p className="muted flat-metrics">
          The same at every step:{" "}
          {flat
            .map((chart) => {
              const { title, format } = definition(chart.metric);
              return `${title} ${format(constant(chart))}`;
            })
            .join(" · ")}
        </p>
      )}
    </Panel>
  );
}
