import { useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "wouter";
import { client, data } from "../../api/client";
import { LineChart } from "../../ui/LineChart";
import { NotShown } from "../../ui/NotShown";
import { Empty, Loading } from "../../ui/states";
import { Panel } from "../../ui/Panel";
import { ProblemList } from "../run/ProblemList";
import { StatusChip } from "../run/StatusChip";
import { linesByLayer } from "./byLayer";
import { ColourBar } from "./ColourBar";
import { DictionaryTable } from "./DictionaryTable";
import { HeatMap } from "./HeatMap";
import type { Line } from "./layout";
import { type Measure, MEASURES, rangeOf } from "./measures";
import "../choice.css";
import "../run/RunPage.css";
import "./GridPage.css";

interface Props {
  kind: "suites" | "models";
  id: string;
}

const ask = ({ kind, id }: Props) =>
  kind === "suites"
    ? data(client.GET("/api/suites/{run}", { params: { path: { run: id } } }))
    : data(client.GET("/api/models/{model}", { params: { path: { model: id } } }));

/** The dictionaries of a suite, or all of a model, by layer, position and width. */
export default function GridPage({ kind, id }: Props) {
  const {
    data: grid,
    error,
    refetch,
  } = useQuery({
    queryKey: [kind, id],
    queryFn: () => ask({ kind, id }),
    refetchInterval: ({ state }) => (state.data?.status === "running" ? 5000 : false),
  });
  if (error) return <NotShown what="This grid" error={error} retry={() => void refetch()} />;
  if (!grid) return <Loading what="the dictionaries" />;
  const lines = grid.dictionaries;
  const measured = lines.filter(({ explained_variance_centred: ev }) => typeof ev === "number");
  return (
    <div className="stack">
      <header>
        <h1 tabIndex={-1}>{grid.title}</h1>
        <p className="facts-line">
          <span>
            {grid.kind === "suite" ? "Suite" : "Model"} with {lines.length}{" "}
            {lines.length === 1 ? "dictionary" : "dictionaries"}, {measured.length} measured
          </span>
          {grid.status && <StatusChip status={grid.status} />}
          {grid.kind === "suite" && (
            <Link href={`/runs/${encodeURIComponent(id)}`}>Its run: recipe, curves, machine</Link>
          )}
        </p>
      </header>
      <ProblemList problems={grid.problems} />
      {lines.length === 0 ? (
        <Empty>No dictionary has been trained here yet.</Empty>
      ) : (
        <Views lines={lines} />
      )}
    </div>
  );
}

function Views({ lines }: { lines: Line[] }) {
  const [query, setQuery] = useSearchParams();
  const measure = MEASURES.find(({ id }) => id === query.get("by")) ?? MEASURES[0];
  if (!measure) return null;
  const curves = linesByLayer(lines, measure);
  return (
    <>
      <Panel
        title={measure.title}
        info={measure.info}
        actions={
          <MeasureChoice
            chosen={measure}
            onChoose={(id) => setQuery({ by: id }, { replace: true })}
          />
        }
      >
        <div className="grid-views">
          <GridView lines={lines} measure={measure} />
          {curves.length > 0 && (
            <figure className="chart by-layer">
              <figcaption>{measure.title} by layer</figcaption>
              <LineChart lines={curves} xLabel="layer" yLabel={measure.title} height={230} />
            </figure>
          )}
        </div>
      </Panel>
      <Panel title="All figures">
        <DictionaryTable lines={lines} caption="Dictionaries and their figures" />
      </Panel>
    </>
  );
}

function GridView({ lines, measure }: { lines: Line[]; measure: Measure }) {
  const layers = new Set(lines.map(({ layer }) => layer)).size;
  return (
    <div className={layers <= 8 ? "heat-few" : undefined}>
      <HeatMap lines={lines} measure={measure} />
      <p className="grid-legend">
        <ColourBar measure={measure} range={rangeOf(lines, measure)} />
        <span className="muted">
          {measure.id === "l0" ? "Latents a token" : "Numbers in percent"}. Columns are layers;
          arrow keys move, Enter opens.
        </span>
      </p>
    </div>
  );
}

function MeasureChoice(props: { chosen: Measure; onChoose: (id: string) => void }) {
  const { chosen, onChoose } = props;
  return (
    <fieldset className="choice">
      <legend className="off-screen">Coloured by</legend>
      {MEASURES.map(({ id, title, info }) => (
        <label key={id} title={info} className={id === chosen.id ? "chosen" : undefined}>
          <input
            type="radio"
            name="measure"
            className="off-screen"
            checked={id === chosen.id}
            onChange={() => onChoose(id)}
          />
          {title}
        </label>
      ))}
    </fieldset>
  );
}
