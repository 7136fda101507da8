/** What a person does with a graph, each step of which can be taken back. */
import { FIRST_SHARE } from "./graphQuery";

export interface Group {
  name: string;
  ids: readonly string[];
}

/** What is kept of a page: the same as a saved view. */
export interface Arrangement {
  pinned: readonly string[];
  supernodes: readonly Group[];
  /** Nodes shown carry this share of the influence. */
  share: number;
  focus: string | null;
  /** Where boxes of the circuit drawing were put, in shares of its size; by id, or `group:NAME`. */
  moved: Readonly<Record<string, readonly [number, number]>>;
}

export const EMPTY: Arrangement = {
  pinned: [],
  supernodes: [],
  share: FIRST_SHARE,
  focus: null,
  moved: {},
};

export interface History {
  now: Arrangement;
  past: readonly Arrangement[];
  future: readonly Arrangement[];
  /** What was done last; the same again within one drag is one step. */
  last: string;
}

export type Edit =
  | { do: "focus"; id: string | null }
  | { do: "share"; share: number }
  | { do: "pin"; ids: readonly string[]; on: boolean }
  | { do: "group"; name: string; ids: readonly string[] }
  | { do: "groups"; groups: readonly Group[] }
  | { do: "rename"; name: string; to: string }
  | { do: "ungroup"; name: string }
  | { do: "move"; id: string; x: number; y: number }
  | { do: "clear" }
  | { do: "load"; arrangement: Arrangement }
  | { do: "settle" }
  | { do: "undo" }
  | { do: "redo" };

const DEPTH = 200;
/** One after the other, these are one step until `settle`. */
const DRAGGED = new Set(["share", "move"]);

export const begin = (now: Arrangement): History => ({ now, past: [], future: [], last: "" });

export function edited(history: History, edit: Edit): History {
  const { now, past, future } = history;
  if (edit.do === "undo") {
    const before = past.at(-1);
    if (!before) return history;
    return { now: before, past: past.slice(0, -1), future: [now, ...future], last: "" };
  }
  if (edit.do === "redo") {
    const [next, ...rest] = future;
    return next ? { now: next, past: [...past, now], future: rest, last: "" } : history;
  }
  if (edit.do === "settle") return history.last === "" ? history : { ...history, last: "" };
  const next = changed(now, edit);
  if (next === now) return history;
  // Looking around is no step of its own, or undoing would mostly walk back through glances.
  if (edit.do === "focus") return { ...history, now: next, last: "" };
  const name = edit.do === "move" ? `move ${edit.id}` : edit.do;
  if (DRAGGED.has(edit.do) && history.last === name)
    return { now: next, past, future: [], last: name };
  return { now: next, past: [...past, now].slice(-DEPTH), future: [], last: name };
}

type Change = Exclude<Edit, { do: "undo" | "redo" | "settle" }>;

function changed(now: Arrangement, edit: Change): Arrangement {
  switch (edit.do) {
    case "focus":
      return edit.id === now.focus ? now : { ...now, focus: edit.id };
    case "share":
      return edit.share === now.share ? now : { ...now, share: edit.share };
    case "pin":
      return pinned(now, edit.ids, edit.on);
    case "group":
      return grouped(now, edit.name, edit.ids);
    case "groups":
      return edit.groups.reduce((all, { name, ids }) => grouped(all, name, ids), now);
    case "rename":
      return renamed(now, edit.name, edit.to);
    case "ungroup":
      return { ...now, supernodes: now.supernodes.filter(({ name }) => name !== edit.name) };
    case "move":
      return { ...now, moved: { ...now.moved, [edit.id]: [edit.x, edit.y] } };
    case "clear":
      return { ...now, pinned: [], supernodes: [], moved: {} };
    case "load":
      return edit.arrangement;
  }
}

function pinned(now: Arrangement, ids: readonly string[], on: boolean): Arrangement {
  const chosen = new Set(ids);
  const next = on
    ? [...now.pinned, ...[...chosen].filter((id) => !now.pinned.includes(id))]
    : now.pinned.filter((id) => !chosen.has(id));
  return next.length === now.pinned.length ? now : { ...now, pinned: next };
}

/** A node stands in one group at most; groups of fewer than two go. */
function grouped(now: Arrangement, name: string, ids: readonly string[]): Arrangement {
  const chosen = [...new Set(ids)].filter((id) => id !== "target");
  const free = freeName(name.trim() || "group", now.supernodes);
  if (chosen.length < 2) return now;
  const others = now.supernodes
    .map((group) => ({ ...group, ids: group.ids.filter((id) => !chosen.includes(id)) }))
    .filter((group) => group.ids.length > 1);
  const pins = now.pinned.filter((id) => !chosen.includes(id));
  return { ...now, pinned: pins, supernodes: [...others, { name: free, ids: chosen }] };
}

/** A name that no group has yet. */
export function freeName(name: string, groups: readonly Group[]): string {
  const taken = new Set(groups.map((group) => group.name));
  if (!taken.has(name)) return name;
  let n = 2;
  while (taken.has(`${name} #${n}`)) n += 1;
  return `${name} #${n}`;
}

function renamed(now: Arrangement, name: string, to: string): Arrangement {
  const others = now.supernodes.filter((group) => group.name !== name);
  const next = freeName(to.trim() || name, others);
  if (next === name) return now;
  const { [`group:${name}`]: place, ...rest } = now.moved;
  return {
    ...now,
    supernodes: now.supernodes.map((group) =>
      group.name === name ? { ...group, name: next } : group,
    ),
    moved: place ? { ...rest, [`group:${next}`]: place } : rest,
  };
}
