import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useSearchParams } from "wouter";
import { client, data, type Schemas } from "../../api/client";
import { ProvenanceDrawer } from "../../ui/ProvenanceDrawer";
import { Empty, Failed, Loading } from "../../ui/states";
import { ComparisonView } from "./ComparisonView";
import { PairForm } from "./PairForm";
import { PairIdeas } from "./PairIdeas";
import "./ComparePage.css";

/** Two dictionaries side by side: what the wider one makes of the latents of the narrower one. */
export default function ComparePage() {
  const [search, setSearch] = useSearchParams();
  const a = search.get("a") ?? "";
  const b = search.get("b") ?? "";
  const home = useQuery({
    queryKey: ["home"],
    queryFn: ({ signal }) => data(client.GET("/api/home", { signal })),
  });
  const comparison = useQuery({
    queryKey: ["compare", a, b, null],
    enabled: a !== "" && b !== "" && a !== b,
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) =>
      data<Schemas["Comparison"]>(
        client.GET("/api/compare", { params: { query: { a, b, limit: 1 } }, signal }),
      ),
  });
  return (
    <div className="stack">
      <header className="page-head">
        <h1>Compare dictionaries</h1>
        {comparison.data && <ProvenanceDrawer provenance={comparison.data.provenance} />}
      </header>
      {home.error ? (
        <Failed error={home.error} retry={() => void home.refetch()} />
      ) : home.data === undefined ? (
        <Loading what="dictionaries" />
      ) : (
        <PairForm
          key={`${a} ${b}`}
          lines={home.data.dictionaries}
          a={a}
          b={b}
          onChoose={(next) => setSearch(next)}
        />
      )}
      {a !== "" && a === b ? (
        <Empty>Choose two different dictionaries.</Empty>
      ) : comparison.error ? (
        <Failed error={comparison.error} retry={() => void comparison.refetch()} />
      ) : comparison.data ? (
        <ComparisonView key={`${a} ${b}`} a={a} b={b} comparison={comparison.data} />
      ) : comparison.isFetching ? (
        <Loading what="both dictionaries and their nearest latents" />
      ) : (
        home.data && <PairIdeas lines={home.data.dictionaries} />
      )}
    </div>
  );
}
