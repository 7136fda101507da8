import { useQuery } from "@tanstack/react-query";
import { client, data, type Schemas } from "../../api/client";
import { ProvenanceDrawer } from "../../ui/ProvenanceDrawer";
import { NotShown } from "../../ui/NotShown";
import { Loading } from "../../ui/states";
import { DictionaryTable } from "../grid/DictionaryTable";
import { Panel } from "../../ui/Panel";
import { CurvesPanel } from "./CurvesPanel";
import { EventsPanel } from "./EventsPanel";
import { MachinePanel } from "./MachinePanel";
import { ProblemList } from "./ProblemList";
import { RecipePanel } from "./RecipePanel";
import { ResultsPanel } from "./ResultsPanel";
import { ResumePanel } from "./ResumePanel";
import { RunHead } from "./RunHead";
import { RunProgress } from "./RunProgress";
import { useLiveRun } from "./useLiveRun";
import "./RunPage.css";

/** Jobs that write metrics by step. */
const TRAINS = ["train", "demo"];

/** One run: what was asked, where it stands, its curves while it runs, and what it found. */
export default function RunPage({ id }: { id: string }) {
  const {
    data: run,
    error,
    refetch,
  } = useQuery({
    queryKey: ["runs", id],
    queryFn: () =>
      data<Schemas["RunPage"]>(client.GET("/api/runs/{run}", { params: { path: { run: id } } })),
    refetchInterval: ({ state }) => (state.data?.status === "running" ? 10_000 : false),
  });
  const live = useLiveRun(id, run?.status === "running");
  if (error && !run) return <NotShown what="This run" error={error} retry={() => void refetch()} />;
  if (!run) return <Loading what="the run" />;
  const status = live.update?.status ?? run.status;
  return (
    <div className="stack">
      <RunHead
        run={run}
        status={status}
        elapsed={Math.max(run.elapsed_s, live.update?.elapsed_s ?? 0)}
        actions={<ProvenanceDrawer provenance={run.provenance} />}
      />
      <ProblemList problems={run.problems} />
      {status === "running" ? (
        <RunProgress update={live.update} connection={live.connection} nSteps={run.n_steps} />
      ) : (
        <ResumePanel run={run} />
      )}
      {run.dictionaries.length > 0 && (
        <Panel title="Dictionaries">
          <DictionaryTable lines={run.dictionaries} caption="Dictionaries of this run" />
        </Panel>
      )}
      {(live.lines.length > 0 || live.failed || TRAINS.includes(run.job)) && (
        <CurvesPanel
          lines={live.lines}
          loading={live.loading}
          failed={live.failed}
          running={status === "running"}
        />
      )}
      <ResultsPanel results={run.results} />
      <div className="run-columns">
        <RecipePanel recipe={run.recipe} />
        <div className="stack">
          <EventsPanel events={run.events} fresh={live.events} />
          <MachinePanel run={run} />
        </div>
      </div>
    </div>
  );
}
