import { useEffect, useReducer, useState } from "react";
import { useSearchParams } from "wouter";
import { NotShown } from "../../ui/NotShown";
import { Loading } from "../../ui/states";
import { begin, edited, EMPTY } from "./edits";
import { FIRST_LINKS, FIRST_SHARE, shareOf } from "./graphQuery";
import { GraphView } from "./GraphView";
import { type At, useGraph } from "./useGraph";
import { useShown } from "./useShown";
import "../dictionary/Map.css";
import "./GraphPage.css";

const PAUSE_MS = 60;

/** The graph of one prompt: what its target is made of, from the logits down to the tokens. */
export default function GraphPage({ run, name }: At) {
  return <Page key={`${run} ${name}`} run={run} name={name} />;
}

function Page({ run, name }: At) {
  const [search, setSearch] = useSearchParams();
  const [history, edit] = useReducer(edited, null, () =>
    begin({
      ...EMPTY,
      share: shareOf(search),
      focus: search.get("focus"),
    }),
  );
  const [linksMost, setLinksMost] = useState(FIRST_LINKS);
  const { share, focus } = history.now;
  const asked = usePaused(share);
  const page = useGraph({ run, name }, asked, linksMost);
  const shown = useShown(page.data);
  // The address holds what a colleague needs to see the same.
  useEffect(() => {
    const timer = setTimeout(() => {
      setSearch(
        (before) => {
          const next = new URLSearchParams(before);
          if (focus === null) next.delete("focus");
          else next.set("focus", focus);
          if (share === FIRST_SHARE) next.delete("share");
          else next.set("share", String(share));
          return next;
        },
        { replace: true },
      );
    }, 300);
    return () => clearTimeout(timer);
  }, [focus, share, setSearch]);
  if (page.error && !shown)
    return <NotShown what="This graph" error={page.error} retry={() => void page.refetch()} />;
  if (!shown)
    return (
      <>
        <h1>Graph</h1>
        <Loading what="the graph" />
      </>
    );
  return (
    <GraphView
      at={{ run, name }}
      shown={shown}
      waiting={page.isPlaceholderData || asked !== share}
      error={page.error}
      history={history}
      edit={edit}
      linksMost={linksMost}
      onLinksMost={setLinksMost}
    />
  );
}

/** The value once it has rested, so that a dragged slider does not ask for every place on its way. */
function usePaused(value: number): number {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setRested(value), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return rested;
}
