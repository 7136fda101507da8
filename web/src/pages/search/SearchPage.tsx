import { useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "wouter";
import { useHistoryState } from "wouter/use-browser-location";
import { client, data } from "../../api/client";
import { Failed, Loading } from "../../ui/states";
import { type Asked, type Kind, KINDS, readAsked, writeAsked } from "./address";
import { FeatureSearch } from "./FeatureSearch";
import { NearSearch } from "./NearSearch";
import { TextSearch } from "./TextSearch";
import { useResultKeys } from "./useResultKeys";
import "./SearchPage.css";

const NAMES: Record<Kind, string> = {
  label: "Label",
  token: "Token",
  text: "What fires here",
  near: "Neighbours",
};

/** Features of all dictionaries: by label, by token, by what fires on a text, by direction. */
export default function SearchPage() {
  const [search] = useSearchParams();
  const asked = readAsked(search, useHistoryState());
  const home = useQuery({
    queryKey: ["home"],
    queryFn: ({ signal }) => data(client.GET("/api/home", { signal })),
  });
  useResultKeys();
  return (
    <div className="stack">
      <div>
        <h1>Search</h1>
        <nav className="kinds" aria-label="What to search by">
          {KINDS.map((kind) => (
            <Link
              key={kind}
              href={writeAsked({ ...carried(asked, kind), kind }).to}
              aria-current={kind === asked.kind ? "page" : undefined}
            >
              {NAMES[kind]}
            </Link>
          ))}
        </nav>
      </div>
      {home.error ? (
        <Failed error={home.error} retry={() => void home.refetch()} />
      ) : home.data === undefined ? (
        <Loading what="dictionaries" />
      ) : asked.kind === "text" ? (
        <TextSearch key={asked.query} asked={asked} lines={home.data.dictionaries} />
      ) : asked.kind === "near" ? (
        <NearSearch key={asked.query} asked={asked} lines={home.data.dictionaries} />
      ) : (
        <FeatureSearch
          key={`${asked.kind} ${asked.query}`}
          asked={asked}
          kind={asked.kind}
          lines={home.data.dictionaries}
        />
      )}
    </div>
  );
}

/** Words go along from kind to kind; a feature's address would mean nothing elsewhere. */
function carried(asked: Asked, kind: Kind): Asked {
  const words = asked.kind !== "near" && kind !== "near";
  return { ...asked, query: words ? asked.query : "" };
}
