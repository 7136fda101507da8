import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useSearchParams } from "wouter";
import { client, data, type Schemas } from "../../api/client";
import { count, number, share } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { ProvenanceDrawer } from "../../ui/ProvenanceDrawer";
import { Empty, Failed, Loading } from "../../ui/states";
import { ComparedList } from "./ComparedList";
import { ComparedScatter } from "./ComparedScatter";
import { KINDS } from "./columns";
import { type Filter, rowsOf, type Texts } from "./compared";
import { graphAddress, useGraphs } from "./GraphsPage";
import { useGraph } from "./useGraph";
import "./GraphPage.css";
import "./GraphCompare.css";

type Match = Schemas["GraphsCompared"]["match"];
const MATCHES: Record<Match, string> = {
  latent: "wherever they stand",
  position: "at the same position",
  from_end: "at the same position from the end",
};

/** Two prompts side by side: which features both use, and which only one. */
export default function GraphComparePage() {
  const [search, setSearch] = useSearchParams();
  const [a, b] = [search.get("a") ?? "", search.get("b") ?? ""];
  const asked = search.get("match") ?? "latent";
  const match = (asked in MATCHES ? asked : "latent") as Match;
  const graphs = useGraphs();
  const lines = graphs.data?.graphs ?? [];
  const found = useQuery({
    queryKey: ["graphs", "compare", a, b, match],
    enabled: a !== "" && b !== "" && a !== b,
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) =>
      data<Schemas["GraphsCompared"]>(
        client.GET("/api/graphs/compare", {
          params: { query: { a, b, share: 1, match, links: 0 } },
          signal,
        }),
      ),
  });
  const choose = (part: Record<string, string>) =>
    setSearch((before) => new URLSearchParams({ ...Object.fromEntries(before), ...part }));
  return (
    <div className="stack">
      <header className="graphs-head">
        <h1>Compare two prompts</h1>
        {found.data && <ProvenanceDrawer provenance={found.data.provenance} />}
      </header>
      {graphs.error ? (
        <Failed error={graphs.error} retry={() => void graphs.refetch()} />
      ) : !graphs.data ? (
        <Loading what="graphs" />
      ) : lines.length < 2 ? (
        <Empty>
          A comparison takes two traced prompts; <Link href="/graphs">trace another one</Link>.
        </Empty>
      ) : (
        <div className="panel pair-of-graphs">
          <Choice name="One prompt" value={a} lines={lines} onChoose={(id) => choose({ a: id })} />
          <button
            type="button"
            aria-label="Swap the two"
            title="Swap the two"
            onClick={() => choose({ a: b, b: a })}
          >
            ⇄
          </button>
          <Choice name="Another" value={b} lines={lines} onChoose={(id) => choose({ b: id })} />
          <label>
            Nodes are the same
            <select value={match} onChange={(event) => choose({ match: event.target.value })}>
              {Object.entries(MATCHES).map(([id, title]) => (
                <option key={id} value={id}>
                  {title}
                </option>
              ))}
            </select>
          </label>
        </div>
      )}
      {a !== "" && a === b ? (
        <Empty>Choose two different graphs.</Empty>
      ) : found.error ? (
        <Failed error={found.error} retry={() => void found.refetch()} />
      ) : found.data ? (
        <Compared key={`${a} ${b} ${match}`} found={found.data} />
      ) : found.isFetching ? (
        <Loading what="both graphs" />
      ) : null}
    </div>
  );
}

interface ChoiceProps {
  name: string;
  value: string;
  lines: Schemas["GraphLine"][];
  onChoose: (id: string) => void;
}

function Choice({ name, value, lines, onChoose }: ChoiceProps) {
  return (
    <label>
      {name}
      <select value={value} onChange={(event) => onChoose(event.target.value)}>
        <option value="">choose …</option>
        {lines.map((line) => (
          <option key={`${line.run}/${line.name}`} value={`${line.run}/${line.name}`}>
            {line.prompt.length > 70 ? `…${line.prompt.slice(-69)}` : line.prompt} → {line.target} (
            {line.n_nodes} nodes)
          </option>
        ))}
      </select>
    </label>
  );
}

function Compared({ found }: { found: Schemas["GraphsCompared"] }) {
  const [filter, setFilter] = useState<Filter>("all");
  const [kind, setKind] = useState("");
  const texts: Texts = [useTexts(found.a), useTexts(found.b)];
  const rows = rowsOf(found.nodes, filter, kind);
  const kinds = [...new Set(found.nodes.kind)];
  const counts: Record<Filter, number> = {
    all: found.nodes.key.length,
    shared: found.n_shared,
    a: found.n_only_a,
    b: found.n_only_b,
  };
  return (
    <>
      <div className="compared-heads">
        {([found.a, found.b] as const).map((line, n) => (
          <section key={n} className="panel" aria-label={n === 0 ? "First" : "Second"}>
            <h2>
              <span className={`letter ${n === 0 ? "a" : "b"}`}>{n === 0 ? "A" : "B"}</span>{" "}
              <Link href={graphAddress(line)}>
                <bdi>{line.prompt}</bdi>
              </Link>
            </h2>
            <p className="muted">
              <bdi>{line.target}</bdi> <strong className="number">{number(line.value, 4)}</strong> ·{" "}
              {count(line.n_nodes)} nodes, {count(line.n_edges)} links
            </p>
          </section>
        ))}
      </div>
      <Panel
        title="Nodes of both"
        info="What a node adds to the target of either prompt. Features at several positions are summed when they count as the same wherever they stand."
        actions={
          <>
            <span className="segments" role="group" aria-label="Which nodes">
              {(["all", "shared", "a", "b"] as const).map((one) => (
                <button
                  key={one}
                  type="button"
                  className="small"
                  aria-pressed={filter === one}
                  onClick={() => setFilter(one)}
                >
                  {{ all: "All", shared: "In both", a: "Only in A", b: "Only in B" }[one]}{" "}
                  <span className="number">{count(counts[one])}</span>
                </button>
              ))}
            </span>
            <select
              aria-label="Kind of node"
              value={kind}
              onChange={(event) => setKind(event.target.value)}
            >
              <option value="">all kinds</option>
              {kinds.map((one) => (
                <option key={one} value={one}>
                  {KINDS[one]?.many ?? one}
                </option>
              ))}
            </select>
          </>
        }
      >
        <p className="muted">
          {found.feature_overlap === null
            ? "Neither graph holds a feature."
            : `${share(found.feature_overlap)} of the features of either stand in both`}
          {found.weighted_overlap !== null &&
            ` · ${share(found.weighted_overlap)} by what they add`}
        </p>
        <div className="compared">
          <ComparedScatter nodes={found.nodes} rows={rows} texts={texts} />
          <ComparedList found={found} rows={rows} texts={texts} />
        </div>
      </Panel>
    </>
  );
}

/** The tokens of a graph, from its smallest page. */
function useTexts({ run, name }: Schemas["GraphLine"]): readonly string[] {
  const page = useGraph({ run, name }, 0, 0);
  return page.data?.meta.tokens.map(({ text }) => text) ?? [];
}
