import { useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "wouter";
import { client, data, type Schemas } from "../../api/client";
import { date, fixedShare, number } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { Failed, Loading } from "../../ui/states";
import { type Column, Table } from "../../ui/Table";
import { ProblemList } from "../run/ProblemList";
import { TraceBox } from "./TraceBox";
import "./GraphPage.css";

type Line = Schemas["GraphLine"];

export const graphAddress = ({ run, name }: Pick<Line, "run" | "name">) =>
  `/graphs/${encodeURIComponent(run)}/${encodeURIComponent(name)}`;

const COLUMNS: Column<Line>[] = [
  {
    id: "prompt",
    title: "Prompt",
    cell: (line) => (
      <Link href={graphAddress(line)} className="graph-link">
        <bdi>{line.prompt}</bdi>
      </Link>
    ),
    value: ({ prompt }) => prompt,
  },
  {
    id: "target",
    title: "Target",
    cell: ({ target }) => <bdi className="mono">{target}</bdi>,
    value: ({ target }) => target,
  },
  {
    id: "value",
    title: "Value",
    numeric: true,
    cell: ({ value }) => number(value),
    value: ({ value }) => value,
  },
  {
    id: "recovered",
    title: "Recovered",
    info: "Share of the target that comes from tokens and positions through what is kept.",
    numeric: true,
    cell: ({ recovered }) => fixedShare(recovered, 1),
    value: ({ recovered }) => recovered,
  },
  {
    id: "nodes",
    title: "Nodes",
    numeric: true,
    cell: (line) => line.n_nodes,
    value: (line) => line.n_nodes,
  },
  {
    id: "links",
    title: "Links",
    numeric: true,
    cell: (line) => line.n_edges,
    value: (line) => line.n_edges,
  },
  { id: "model", title: "Model", cell: ({ model }) => model ?? "–", value: ({ model }) => model },
  {
    id: "created",
    title: "Traced",
    numeric: true,
    cell: ({ created }) => <time dateTime={created}>{date(created)}</time>,
    value: ({ created }) => created,
  },
];

export const useGraphs = () =>
  useQuery({
    queryKey: ["graphs"],
    queryFn: ({ signal }) => data<Schemas["Graphs"]>(client.GET("/api/graphs", { signal })),
    staleTime: 2_000,
  });

/** All graphs under the served folders, and a box to trace another prompt. */
export default function GraphsPage() {
  const graphs = useGraphs();
  const [search, setSearch] = useSearchParams();
  const run = search.get("run");
  const lines = graphs.data?.graphs.filter((line) => run === null || line.run === run) ?? [];
  return (
    <div className="stack">
      <header className="graphs-head">
        <h1>Graphs</h1>
        {graphs.data && graphs.data.graphs.length > 1 && (
          <Link href="/graphs/compare">Compare two prompts</Link>
        )}
      </header>
      <TraceBox first={graphs.data?.graphs.length === 0} />
      {graphs.error ? (
        <Failed error={graphs.error} retry={() => void graphs.refetch()} />
      ) : !graphs.data ? (
        <Loading what="graphs" />
      ) : (
        <>
          <ProblemList problems={graphs.data.problems} />
          {run !== null && (
            <p>
              Graphs of the run <code>{run}</code>.{" "}
              <button type="button" className="small" onClick={() => setSearch({})}>
                Show all
              </button>
            </p>
          )}
          {lines.length > 0 && (
            <Panel
              title="Traced prompts"
              info="Each is the circuit of one prompt: what a prediction, a feature or an attention score is the sum of."
            >
              <Table
                caption="Traced prompts"
                columns={COLUMNS}
                rows={lines}
                rowKey={({ run, name }) => `${run}/${name}`}
              />
            </Panel>
          )}
        </>
      )}
    </div>
  );
}
