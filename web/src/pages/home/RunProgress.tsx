import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import type { Schemas } from "../../api/client";
import { count, seconds } from "../../ui/format";
import { follow } from "../run/follow";
import { phaseName } from "../run/phases";
import { ProgressBar } from "../run/ProgressBar";
import { StatusChip } from "../run/StatusChip";

type Update = Schemas["LiveUpdate"];

/** How far a running run is, as its stream says. */
export function RunProgress({ run, name }: { run: string; name: string }) {
  const queries = useQueryClient();
  const [update, setUpdate] = useState<Update | null>(null);
  useEffect(
    () =>
      follow({
        // No metric has this name: curves are not wanted here.
        address: () => `/api/runs/${encodeURIComponent(run)}/stream?names=none`,
        event: "update",
        onData: (text) => setUpdate(JSON.parse(text) as Update),
        onConnection: (connection) => {
          if (connection === "ended") void queries.invalidateQueries({ queryKey: ["home"] });
        },
      }),
    [run, queries],
  );
  const done = update?.done ?? null;
  const total = update?.total ?? null;
  return (
    <div className="run-line">
      <StatusChip status={update?.status ?? "running"} />
      {update?.phase && (
        <p>
          {phaseName(update.phase)}
          {done !== null && ` · ${count(done)}`}
          {total !== null && ` of ${count(total)}`}
          {typeof update.left_s === "number" && ` · about ${seconds(update.left_s)} left`}
        </p>
      )}
      {total !== null && <ProgressBar done={done} total={total} label={`Progress of ${name}`} />}
    </div>
  );
}
