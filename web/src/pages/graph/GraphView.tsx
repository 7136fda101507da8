import { type Dispatch, useMemo, useRef, useState } from "react";
import { Empty, Failed } from "../../ui/states";
import { CircuitDrawing } from "./CircuitDrawing";
import { barredBy, verdictsByNode } from "./claims";
import type { Edit, History } from "./edits";
import { GraphCanvas } from "./GraphCanvas";
import { GraphHead } from "./GraphHead";
import { GraphTabs } from "./GraphTabs";
import { GraphTools } from "./GraphTools";
import { LedgerBar } from "./LedgerBar";
import { Legend } from "./Legend";
import { toggled } from "./marks";
import { NodePanel } from "./NodePanel";
import { NothingFocused } from "./NothingFocused";
import { useFocusedPlace } from "./useFocusedPlace";
import { type At, useTests } from "./useGraph";
import { useGraphKeys } from "./useGraphKeys";
import { useMarks } from "./useMarks";
import type { Shown } from "./useShown";

interface Props {
  at: At;
  shown: Shown;
  waiting: boolean;
  error: unknown;
  history: History;
  edit: Dispatch<Edit>;
  linksMost: number;
  onLinksMost: (n: number) => void;
}

/** The page once there is something to show: drawing, panel of the focused node, and what lies below. */
export function GraphView(props: Props) {
  const { at, shown, waiting, error, history, edit, linksMost, onLinksMost } = props;
  const { nodes, byId, page, ordered, nameOf } = shown;
  const { now } = history;
  const search = useRef<HTMLInputElement>(null);
  const [drawing, setDrawing] = useState<"links" | "circuit">("links");
  const [tab, setTab] = useState("nodes");
  const [words, setWords] = useState("");
  const [selectedIds, setSelected] = useState<readonly string[]>([]);
  const marks = useMarks(at, shown, { arrangement: now, words, selectedIds });
  const { focus, found } = marks;
  const place = useFocusedPlace(shown, now.focus);
  const tests = useTests(at).data?.tests;
  const tested = useMemo(() => verdictsByNode(tests ?? []), [tests]);
  const barred = barredBy(page);
  const focusId = (id: string | null) => edit({ do: "focus", id });
  const focusOn = (i: number | null) => focusId(i === null ? null : (nodes.id[i] ?? null));
  const step = (by: number) => {
    const list = found ?? ordered;
    const from = focus === null ? -1 : list.indexOf(focus);
    const next = from === -1 && by < 0 ? list.length - 1 : from + by;
    const i = list[(next + list.length) % Math.max(1, list.length)];
    if (i !== undefined) focusOn(i);
  };
  const pinOrUnpin = (ids: readonly string[]) =>
    edit({ do: "pin", ids, on: !ids.every((id) => now.pinned.includes(id)) });
  const focused = now.focus === null ? [] : [now.focus];
  const pin = () => pinOrUnpin(selectedIds.length > 0 ? selectedIds : focused);
  const makeGroup = () => {
    const first = byId.get(selectedIds[0] ?? "");
    if (selectedIds.length < 2 || first === undefined) return;
    edit({ do: "group", name: `${nameOf(first)} (+${selectedIds.length - 1})`, ids: selectedIds });
    setSelected([]);
    setTab("groups");
  };
  const slide = (by: number) => {
    const share = Math.min(1, Math.max(0, Math.round(100 * (now.share + by)) / 100));
    edit({ do: "share", share });
    edit({ do: "settle" });
  };
  useGraphKeys({
    edit,
    step,
    slide,
    pin,
    makeGroup,
    otherDrawing: () => setDrawing(drawing === "links" ? "circuit" : "links"),
    find: () => search.current?.focus(),
    leave: () => (selectedIds.length > 0 ? setSelected([]) : focusOn(null)),
  });
  return (
    <div className="graph-page stack">
      <GraphHead at={at} page={page} history={history} edit={edit} />
      <LedgerBar ledger={page.ledger} />
      {error ? <Failed error={error} /> : null}
      <div className="graph-main">
        <section className="panel graph-panel" aria-label="Drawing">
          <GraphTools
            page={page}
            share={now.share}
            waiting={waiting}
            drawing={drawing}
            onDrawing={setDrawing}
            kept={now.pinned.length + now.supernodes.length}
            linksMost={linksMost}
            onLinksMost={onLinksMost}
            edit={edit}
            search={search}
            words={words}
            onWords={setWords}
            found={found?.length ?? null}
            onNext={() => step(1)}
            selected={selectedIds.length}
            onPin={pin}
            onGroup={makeGroup}
            onClear={() => setSelected([])}
          />
          {drawing === "circuit" ? (
            <CircuitDrawing
              at={at}
              shown={shown}
              arrangement={now}
              share={page.share}
              tested={tested}
              onEdit={edit}
              onFocus={focusId}
            />
          ) : nodes.id.length === 0 ? (
            <Empty>No node is left at this place of the slider.</Empty>
          ) : (
            <GraphCanvas
              shown={shown}
              marks={marks}
              onFocus={focusOn}
              onSelect={(more, add) => {
                const ids = more.map((i) => nodes.id[i] ?? "");
                setSelected(add ? toggled(selectedIds, ids) : ids);
              }}
            />
          )}
          <Legend />
        </section>
        <aside className="panel graph-aside" aria-label="Node">
          {place === null ? (
            <NothingFocused shown={shown} onFocus={focusOn} />
          ) : (
            <NodePanel
              at={at}
              shown={shown}
              place={place}
              pinned={now.focus !== null && now.pinned.includes(now.focus)}
              barred={barred}
              onPin={() => pinOrUnpin(focused)}
              onFocus={focusId}
            />
          )}
        </aside>
      </div>
      <section className="panel" aria-label="More of this graph">
        <GraphTabs
          at={at}
          shown={shown}
          marks={marks}
          arrangement={now}
          nTests={tests?.length ?? 0}
          barred={barred}
          tab={tab}
          onTab={setTab}
          edit={edit}
          onFocus={focusOn}
          onSelect={setSelected}
        />
      </section>
    </div>
  );
}
