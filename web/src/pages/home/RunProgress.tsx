import { useState } from "react";
import type { Schemas } from "../../api/client";
import { useStream } from "../../api/useStream";
import { Progress } from "../../ui/Progress";
import { Status } from "../../ui/Status";

type Update = Schemas["LiveUpdate"];

/** How far a running run is, as it says itself. */
export function RunProgress({ run }: { run: string }) {
  const [last, setLast] = useState<Update | null>(null);
  useStream(`/api/runs/${encodeURIComponent(run)}/stream`, {
    update: (update) => setLast(update as Update),
  });
  const phase = last?.phase ?? "running";
  return (
    <div className="run-progress">
      <Status status={last?.status ?? "running"} title={phase} />
      {typeof last?.done === "number" && (
        <Progress
          name={phase}
          done={last.done}
          total={last.total}
          rate={last.rate}
          left_s={last.left_s}
          unit={phase}
        />
      )}
    </div>
  );
}
