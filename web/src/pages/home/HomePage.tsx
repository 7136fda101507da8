import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { client, data, type Schemas } from "../../api/client";
import { Failed, Loading } from "../../ui/states";
import { ProblemList } from "../run/ProblemList";
import { DictionaryPanel } from "./DictionaryPanel";
import { ModelPanel } from "./ModelPanel";
import { RunPanel } from "./RunPanel";
import { SuitePanel } from "./SuitePanel";
import { Welcome } from "./Welcome";
import "./HomePage.css";

const SOON_MS = 4_000;
const LATER_MS = 30_000;

/** What lies under the served folders: problems first, then what can be opened. */
export default function HomePage() {
  const home = useQuery({
    queryKey: ["home"],
    queryFn: () => data<Schemas["Home"]>(client.GET("/api/home")),
    staleTime: 2_000,
    refetchInterval: ({ state }) =>
      state.data?.runs.some(({ status }) => status === "running") ? SOON_MS : LATER_MS,
  });
  if (!home.data)
    return (
      <>
        <h1>Home</h1>
        {home.error ? (
          <Failed error={home.error} retry={() => void home.refetch()} />
        ) : (
          <Loading what="what lies under the served folders" />
        )}
      </>
    );
  const { version, folders, read_only, models, suites, dictionaries, runs, problems } = home.data;
  const isEmpty = dictionaries.length === 0 && runs.length === 0;
  return (
    <div className="stack">
      <header className="home-head">
        <h1>Home</h1>
        <p className="muted">
          Served from{" "}
          {folders.map((folder, i) => (
            <span key={folder}>
              {i > 0 && ", "}
              <code>{folder}</code>
            </span>
          ))}{" "}
          · lmscope {version}
          {read_only && (
            <>
              {" "}
              <span className="chip" title="Notes and jobs are refused.">
                read-only
              </span>
            </>
          )}
        </p>
      </header>
      {home.error && <Failed error={home.error} retry={() => void home.refetch()} />}
      <ProblemList problems={problems} />
      {isEmpty && <Welcome folders={folders} />}
      {(models.length > 0 || suites.length > 0) && (
        <div className="columns home-pair">
          {models.length > 0 && <ModelPanel models={models} />}
          {suites.length > 0 && <SuitePanel suites={suites} />}
        </div>
      )}
      {dictionaries.length > 0 && <DictionaryPanel dictionaries={dictionaries} />}
      {runs.some(({ job }) => job === "trace") && (
        <p>
          <Link href="/graphs">Graphs of traced prompts</Link>
        </p>
      )}
      {runs.some(({ job }) => job === "othello") && (
        <p>
          <Link href="/othello">Boards of Othello players</Link>
        </p>
      )}
      {runs.length > 0 && <RunPanel runs={runs} />}
    </div>
  );
}
