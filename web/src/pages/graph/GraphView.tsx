import { type Dispatch, useEffect, useMemo, useRef, useState } from "react";
import { Empty, Failed } from "../../ui/states";
import { Tabs } from "../../ui/Tabs";
import { useKeys } from "../../ui/useKeys";
import { CircuitDrawing } from "./CircuitDrawing";
import { verdict } from "./claims";
import { matching } from "./columns";
import type { Edit, History } from "./edits";
import { GraphCanvas } from "./GraphCanvas";
import { GraphHead } from "./GraphHead";
import { GraphTools } from "./GraphTools";
import { GroupsTab } from "./GroupsTab";
import { LedgerBar } from "./LedgerBar";
import { Legend } from "./Legend";
import { NodeList } from "./NodeList";
import { NodePanel } from "./NodePanel";
import { NothingFocused } from "./NothingFocused";
import { ScoreTab } from "./ScoreTab";
import { TestLine } from "./TestPart";
import { Trials } from "./Trials";
import { type At, byIndex, useLinks, useTests } from "./useGraph";
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
  const { nodes, byId, byPlace, page, ordered, nameOf } = shown;
  const { now } = history;
  const canvas = useRef<HTMLCanvasElement>(null);
  const search = useRef<HTMLInputElement>(null);
  const [drawing, setDrawing] = useState<"links" | "circuit">("links");
  const [tab, setTab] = useState("nodes");
  const [words, setWords] = useState("");
  const [selectedIds, setSelected] = useState<readonly string[]>([]);
  const found = useMemo(
    () => (words.trim() === "" ? null : matching(nodes, words, nameOf)),
    [nodes, words, nameOf],
  );
  const focus = now.focus === null ? null : (byId.get(now.focus) ?? null);
  const place = useFocusedPlace(shown, now.focus);
  const tests = useTests(at);
  const own = useLinks(at, focus === null ? null : (nodes.place[focus] ?? null), page.share);
  const focusLinks = useMemo(
    () => (focus !== null && own.data ? byIndex(own.data, byPlace) : null),
    [focus, own.data, byPlace],
  );
  const lit = useMemo(() => {
    if (focus !== null)
      return new Set([focus, ...(focusLinks?.source ?? []), ...(focusLinks?.goal ?? [])]);
    return found === null ? null : new Set(found);
  }, [focus, focusLinks, found]);
  const indices = (ids: readonly string[]) => new Set(ids.flatMap((id) => byId.get(id) ?? []));
  // eslint-disable-next-line react-hooks/exhaustive-deps -- `indices` is of `byId`
  const pinned = useMemo(() => indices(now.pinned), [now.pinned, byId]);
  // eslint-disable-next-line react-hooks/exhaustive-deps -- as above
  const selected = useMemo(() => indices(selectedIds), [selectedIds, byId]);
  const group = useMemo(
    () =>
      new Map(
        now.supernodes.flatMap(({ ids }, n) =>
          ids.flatMap((id) => {
            const i = byId.get(id);
            return i === undefined ? [] : [[i, n] as const];
          }),
        ),
      ),
    [now.supernodes, byId],
  );
  const labelled = useMemo(() => {
    const worth = (i: number) => nodes.kind[i] !== "token" && nodes.kind[i] !== "position";
    if (lit) {
      const near = ordered.filter((i) => lit.has(i) && worth(i));
      return focus === null ? near : [focus, ...near.filter((i) => i !== focus)];
    }
    const target = byId.get("target");
    const features = ordered.filter((i) => nodes.kind[i] === "feature");
    return [...(target === undefined ? [] : [target]), ...pinned, ...features];
  }, [nodes, ordered, lit, focus, pinned, byId]);
  // Numbers of latents tell little, so a few will do where nobody asked for one; words tell more.
  const known = labelled.filter((i) => nodes.label_known[i]).length;
  const nLabels = lit === null ? Math.min(80, 16 + pinned.size + known) : 60;
  const tested = useMemo(() => {
    const words = new Map<string, string>();
    for (const test of (tests.data?.tests ?? []).toReversed())
      if (!test.edge && test.nodes.length === 1 && test.nodes[0])
        words.set(test.nodes[0], verdict(test).word);
    return words;
  }, [tests.data]);
  const focusOn = (i: number | null) =>
    edit({ do: "focus", id: i === null ? null : (nodes.id[i] ?? null) });
  const focusId = (id: string | null) => edit({ do: "focus", id });
  const step = (by: number) => {
    const list = found ?? ordered;
    const from = focus === null ? -1 : list.indexOf(focus);
    const next = from === -1 && by < 0 ? list.length - 1 : from + by;
    const i = list[(next + list.length) % Math.max(1, list.length)];
    if (i !== undefined) focusOn(i);
  };
  const chosen = selectedIds.length > 0 ? selectedIds : now.focus !== null ? [now.focus] : [];
  const pin = () => {
    const all = chosen.every((id) => now.pinned.includes(id));
    edit({ do: "pin", ids: chosen, on: !all });
  };
  const makeGroup = () => {
    const first = byId.get(selectedIds[0] ?? "");
    if (selectedIds.length < 2 || first === undefined) return;
    edit({ do: "group", name: `${nameOf(first)} (+${selectedIds.length - 1})`, ids: selectedIds });
    setSelected([]);
    setTab("groups");
  };
  const slide = (by: number) => {
    edit({
      do: "share",
      share: Math.min(1, Math.max(0, Math.round(100 * (now.share + by)) / 100)),
    });
    edit({ do: "settle" });
  };
  useKeys({
    j: { does: "Next node, by what it adds", run: () => step(1) },
    k: { does: "Previous node", run: () => step(-1) },
    p: { does: "Pin or unpin the focused or selected nodes", run: pin },
    m: { does: "Make a group of the selected nodes", run: makeGroup },
    "[": { does: "Show fewer nodes", run: () => slide(-0.05) },
    "]": { does: "Show more nodes", run: () => slide(0.05) },
    u: { does: "Undo", run: () => edit({ do: "undo" }) },
    U: { does: "Redo", run: () => edit({ do: "redo" }) },
    c: {
      does: "Circuit drawing, or all links",
      run: () => setDrawing(drawing === "links" ? "circuit" : "links"),
    },
    "/": { does: "Find a node", run: () => search.current?.focus() },
    Escape: () => {
      if (selectedIds.length > 0) setSelected([]);
      else focusOn(null);
    },
  });
  useUndoKeys(edit);
  const barred = page.read_only
    ? "The server is read-only: claims cannot be tried here."
    : page.live
      ? null
      : "Its dictionaries are not under the served folders, so the model cannot be asked.";
  const position = (focus === null ? null : nodes.position[focus]) ?? page.record.position;
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
              focus={focus}
              lit={lit}
              pinned={pinned}
              selected={selected}
              group={group}
              labelled={labelled}
              nLabels={nLabels}
              links={focus === null ? shown.links : (focusLinks ?? NO_LINKS)}
              box={canvas}
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
              onPin={() =>
                now.focus !== null &&
                edit({ do: "pin", ids: [now.focus], on: !now.pinned.includes(now.focus) })
              }
              onFocus={focusId}
            />
          )}
        </aside>
      </div>
      <section className="panel" aria-label="More of this graph">
        <Tabs
          label="More of this graph"
          selected={tab}
          onSelect={setTab}
          tabs={[
            {
              id: "nodes",
              title: "Nodes",
              content: (
                <NodeList
                  shown={shown}
                  found={found}
                  focus={focus}
                  pinned={pinned}
                  onFocus={focusOn}
                />
              ),
            },
            {
              id: "groups",
              title: `Groups${now.supernodes.length > 0 ? ` (${now.supernodes.length})` : ""}`,
              content: (
                <GroupsTab
                  at={at}
                  shown={shown}
                  arrangement={now}
                  barred={barred}
                  onEdit={edit}
                  onSelect={setSelected}
                />
              ),
            },
            {
              id: "scores",
              title: "Attention scores",
              content: (
                <ScoreTab
                  at={at}
                  page={page}
                  position={position}
                  barred={barred}
                  onFocus={focusId}
                />
              ),
            },
            {
              id: "tests",
              title: `Tests${tests.data?.tests.length ? ` (${tests.data.tests.length})` : ""}`,
              content: (
                <div className="all-tests">
                  {(tests.data?.tests ?? []).map((test) => (
                    <div key={test.id}>
                      <p className="mono small-print">
                        {test.edge ? test.edge.join(" → ") : test.nodes.join(", ")}
                      </p>
                      <TestLine test={test} />
                    </div>
                  ))}
                  {tests.data?.tests.length === 0 && (
                    <p className="muted">
                      No claim was tried yet. Focus a feature and press “Test this”.
                    </p>
                  )}
                  {tests.error && <Failed error={tests.error} />}
                </div>
              ),
            },
            { id: "trials", title: "Faithfulness", content: <Trials page={page} /> },
          ]}
        />
      </section>
    </div>
  );
}

const NO_LINKS = { source: [], goal: [], flow: [] };

/** Chosen ones that are there already go, the others come. */
function toggled(before: readonly string[], ids: readonly string[]): string[] {
  const there = new Set(before);
  return [...before.filter((id) => !ids.includes(id)), ...ids.filter((id) => !there.has(id))];
}

/** The place of the focused node, also when the slider has left it out since. */
function useFocusedPlace(shown: Shown, id: string | null): number | null {
  const [seen, setSeen] = useState<{ id: string; place: number } | null>(null);
  const i = id === null ? undefined : shown.byId.get(id);
  const place = i === undefined ? null : (shown.nodes.place[i] ?? null);
  if (id !== null && place !== null && (seen?.id !== id || seen.place !== place))
    setSeen({ id, place });
  return place ?? (seen !== null && seen.id === id ? seen.place : null);
}

/** Ctrl or Command with Z as everywhere, but not where somebody types. */
function useUndoKeys(edit: Dispatch<Edit>) {
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
      if (event.target instanceof HTMLElement && event.target.matches("input, textarea, select"))
        return;
      event.preventDefault();
      edit({ do: event.shiftKey ? "redo" : "undo" });
    };
    window.addEventListener("keydown", key);
    return () => window.removeEventListener("keydown", key);
  }, [edit]);
}
