import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useReducer, useRef } from "react";
import { client, data, type Schemas } from "../../api/client";
import { joined, type Line, pointsIn } from "./curves";
import { type Connection, follow } from "./follow";

/** What each event of the stream says; lines and events hold what is new. */
export interface Update {
  status: Schemas["RunPage"]["status"];
  error: string | null;
  step: number;
  elapsed_s: number;
  lines: Line[];
  events: Schemas["RunEvent"][];
  phase: string | null;
  /** How far the phase is; null where only the run's own process knows. */
  done: number | null;
  total: number | null;
  /** Of `done`, a second. */
  rate: number | null;
  left_s: number | null;
}

interface Live {
  connection: Connection | null;
  /** The last one, without its lines and events, which are gathered beside it. */
  update: Update | null;
  lines: Line[];
  events: Schemas["RunEvent"][];
}

type Action =
  | { kind: "update"; update: Update }
  | { kind: "connection"; connection: Connection }
  | { kind: "begin" };

const NOTHING: Live = { connection: null, update: null, lines: [], events: [] };
const EVENTS_KEPT = 200;
const MANY_POINTS = 60_000;

function reduce(live: Live, action: Action): Live {
  if (action.kind === "begin") return NOTHING;
  if (action.kind === "connection") return { ...live, connection: action.connection };
  const { update } = action;
  return {
    ...live,
    update,
    lines: joined(live.lines, update.lines),
    events: [...live.events, ...update.events].slice(-EVENTS_KEPT),
  };
}

/** The curves of a run, and what its stream says while it runs. */
export function useLiveRun(id: string, running: boolean) {
  const queries = useQueryClient();
  const [live, dispatch] = useReducer(reduce, NOTHING);
  const curves = useQuery({
    queryKey: ["runs", id, "curves"],
    queryFn: () => data(client.GET("/api/runs/{run}/curves", { params: { path: { run: id } } })),
  });
  const ready = curves.isSuccess;
  const loaded = curves.data?.step ?? 0;
  const last = useRef(0);
  useEffect(() => {
    if (!running || !ready) return;
    last.current = loaded;
    dispatch({ kind: "begin" });
    return follow({
      address: () => `/api/runs/${encodeURIComponent(id)}/stream?after=${last.current}`,
      event: "update",
      onData: (text) => {
        const update = JSON.parse(text) as Update;
        last.current = Math.max(last.current, update.step);
        dispatch({ kind: "update", update });
      },
      onConnection: (connection) => {
        dispatch({ kind: "connection", connection });
        if (connection === "ended") void queries.invalidateQueries({ queryKey: ["runs", id] });
      },
    });
    // `loaded` is where the stream begins; when thinned curves come again it begins anew.
  }, [id, running, ready, loaded, queries]);
  const heavy = pointsIn(live.lines) > MANY_POINTS;
  useEffect(() => {
    if (heavy) void queries.invalidateQueries({ queryKey: ["runs", id, "curves"] });
  }, [heavy, id, queries]);
  return {
    ...live,
    lines: joined(curves.data?.lines ?? [], live.lines),
    failed: curves.error,
    loading: curves.isPending,
  };
}
