import { count, number, seconds } from "../../ui/format";
import { ProgressBar } from "./ProgressBar";
import type { Connection } from "./follow";
import { phaseName } from "./phases";
import type { Update } from "./useLiveRun";

interface Props {
  update: Update | null;
  connection: Connection | null;
  /** Steps of the whole run, where its recipe says so. */
  nSteps: number | null;
}

const SAYS: Record<Connection, string> = {
  connecting: "connecting …",
  live: "live",
  reconnecting: "connection lost, trying again …",
  ended: "ended",
};

/** How far a running run is, with its rate and the time left. */
export function RunProgress({ update, connection, nSteps }: Props) {
  const training = update?.phase === "train" || update?.phase === null;
  const done = update?.done ?? (training ? (update?.step ?? null) : null);
  const total = update?.total ?? (training ? nSteps : null);
  return (
    <section className="panel run-progress" aria-label="Progress">
      <div className="progress-line">
        <strong>{update?.phase ? phaseName(update.phase) : "Waiting for its first step"}</strong>
        {done !== null && (
          <span>
            {count(done)}
            {total !== null ? ` of ${count(total)}` : ""}
          </span>
        )}
        {typeof update?.rate === "number" && <span>{number(update.rate, 3)} a second</span>}
        {typeof update?.left_s === "number" && <span>about {seconds(update.left_s)} left</span>}
        <span className={`connection ${connection ?? ""}`} role="status">
          {SAYS[connection ?? "connecting"]}
        </span>
      </div>
      <ProgressBar done={done} total={total} label="Progress of the run" />
    </section>
  );
}
