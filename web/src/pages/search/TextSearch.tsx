import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useLocation } from "wouter";
import { client, data, type Schemas } from "../../api/client";
import { Empty, Failed } from "../../ui/states";
import { type Asked, writeAsked } from "./address";
import { DictionaryPicker } from "./DictionaryPicker";
import type { Order } from "./firing";
import { FiringControls } from "./FiringControls";
import { ProbedPanel } from "./ProbedPanel";
import { WaitingForModel } from "./WaitingForModel";

type Line = Schemas["DictionaryLine"];

interface Props {
  asked: Asked;
  lines: Line[];
}

/** As many as the server reads a text for at once. */
const MOST = 32;
/** Latents listed of each dictionary: fewer on a long text, where each carries more values. */
const listed = (text: string) => (text.length <= 2000 ? 200 : 60);

/** What fires on a text, in each of the chosen dictionaries. */
export function TextSearch({ asked, lines }: Props) {
  const [text, setText] = useState(asked.query);
  const [order, setOrder] = useState<Order>("max");
  const [maxDensity, setMaxDensity] = useState<number | null>(null);
  const [, navigate] = useLocation();
  const ready = lines.filter((line) => line.status !== "atlas only");
  const dictionaries = read(asked.dictionaries, ready);
  const go = (next: Asked) => {
    const { to, state } = writeAsked(next);
    navigate(to, { state });
  };
  const by = order === "sum" || order === "tokens" ? order : "max";
  const body = {
    text: asked.query,
    dictionaries,
    latents: [],
    n: listed(asked.query),
    by,
  } as const;
  const answer = useQuery({
    queryKey: ["probe", body],
    enabled: asked.query !== "" && dictionaries.length > 0,
    staleTime: Infinity,
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) =>
      data(
        client.POST("/api/live/probe", {
          body: { ...body, dictionaries: [...dictionaries], latents: [] },
          signal,
        }),
      ),
  });
  if (ready.length === 0)
    return (
      <Empty>
        A text can be read where a dictionary's weights are: none of the served folders holds any.
      </Empty>
    );
  return (
    <>
      <form
        className="panel search-form"
        role="search"
        aria-label="What fires on a text"
        onSubmit={(event) => {
          event.preventDefault();
          if (text !== "") go({ ...asked, query: text });
        }}
      >
        <label className="whole">
          A text
          <textarea
            rows={4}
            dir="auto"
            maxLength={32_768}
            value={text}
            placeholder="Paste or write what the model shall read."
            onChange={(event) => setText(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && (event.ctrlKey || event.metaKey))
                event.currentTarget.form?.requestSubmit();
            }}
          />
        </label>
        <DictionaryPicker
          lines={ready}
          chosen={asked.dictionaries}
          onChange={(chosen) => go({ ...asked, query: text, dictionaries: chosen.slice(0, MOST) })}
          whenNone={`in ${dictionaries[0] === undefined ? "no dictionary" : (nameOf(ready, dictionaries[0]) ?? "")}`}
        />
        <button type="submit" className="primary" title="Ctrl+Enter">
          Read it
        </button>
      </form>
      {asked.query === "" && (
        <Empty>
          The model reads the text, and each dictionary tells which of its latents fire on it.
          Choose several dictionaries to see the same text layer by layer.
        </Empty>
      )}
      {answer.error && <Failed error={answer.error} retry={() => void answer.refetch()} />}
      {answer.isFetching && <WaitingForModel />}
      {answer.data && !answer.error && (
        <div className="stack results" aria-busy={answer.isPlaceholderData}>
          <FiringControls {...{ order, setOrder, maxDensity, setMaxDensity }} />
          {answer.data.probed.map((one) => (
            <ProbedPanel
              key={`${one.dictionary.id} ${one.tokens.length}`}
              probed={one}
              order={order}
              maxDensity={maxDensity}
            />
          ))}
          {answer.data.problems.map(({ where, message }) => (
            <p key={where} className="failed">
              <span className="mono">{where}</span>: {message}
            </p>
          ))}
        </div>
      )}
    </>
  );
}

/** Those that were chosen; otherwise one, and rather one whose features are known. */
function read(chosen: string[], ready: Line[]): string[] {
  const known = ready.filter(({ id }) => chosen.includes(id)).map(({ id }) => id);
  const first = ready.find((line) => line.has_atlas) ?? ready[0];
  return known.length > 0 ? known.slice(0, MOST) : first ? [first.id] : [];
}

const nameOf = (lines: Line[], id: string) => lines.find((line) => line.id === id)?.name;
