import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { client, data } from "../../api/client";
import { count } from "../../ui/format";
import { Empty, Failed, Loading } from "../../ui/states";
import type { Asked } from "./address";
import { HitsPanel } from "./HitsPanel";

const FIRST = 20;
const MOST = 200;

/** What a search found, dictionary by dictionary. */
export function Found({ asked }: { asked: Asked }) {
  const [limit, setLimit] = useState(FIRST);
  const { kind, query, dictionaries } = asked;
  const answer = useQuery({
    queryKey: ["search", kind, query, dictionaries, limit],
    queryFn: ({ signal }) =>
      data(
        client.GET("/api/search", {
          params: {
            query: {
              q: query,
              kind: kind === "text" ? "label" : kind,
              dictionary: dictionaries,
              limit,
            },
          },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
  });
  if (answer.error) return <Failed error={answer.error} retry={() => void answer.refetch()} />;
  if (!answer.data) return <Loading what="results" />;
  const hits = answer.data.hits.filter(({ rows }) => rows.length > 0);
  const n = hits.reduce((sum, { rows, total }) => sum + (total ?? rows.length), 0);
  const cut = hits.some(({ rows, total }) => rows.length >= limit && (total ?? Infinity) > limit);
  return (
    <div className="stack results" aria-busy={answer.isPlaceholderData}>
      <p className="muted found-count" role="status">
        {n === 0
          ? `Nothing found for “${query}”.`
          : `${count(n)}${cut && hits.some(({ total }) => total === null) ? " or more" : ""} ${n === 1 ? "feature" : "features"} in ${count(hits.length)} ${hits.length === 1 ? "dictionary" : "dictionaries"}`}
      </p>
      {n === 0 && <Empty>{ADVICE[kind]}</Empty>}
      {hits.map((one) => (
        // A number is found beside words: a dictionary may stand here twice.
        <HitsPanel key={`${one.dictionary.id} ${one.value_name}`} hits={one} asked={asked} />
      ))}
      {cut && limit < MOST && (
        <button type="button" onClick={() => setLimit(limit * 10)}>
          Show up to {limit * 10} of each dictionary
        </button>
      )}
      {answer.data.problems.length > 0 && (
        <details className="muted">
          <summary>Not every dictionary could be asked</summary>
          <ul>
            {answer.data.problems.map(({ where, message }) => (
              <li key={where}>
                <span className="mono">{where}</span>: {message}
              </li>
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}

const ADVICE = {
  label:
    "Try fewer or other words, or search by token: most features have no label that can be trusted.",
  token:
    "Try it with a space in front, in another case, or a shorter piece of the word: rare words are several tokens.",
  near: "No other dictionary writes vectors of the same width.",
  text: "",
};
