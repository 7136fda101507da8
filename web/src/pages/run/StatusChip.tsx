import type { Schemas } from "../../api/client";
import "./StatusChip.css";

type Status = Schemas["RunPage"]["status"] | Schemas["JobLine"]["state"];

const SIGNS: Record<Status, string> = {
  created: "○",
  waiting: "○",
  running: "●",
  interrupted: "◐",
  cancelled: "◐",
  failed: "✕",
  done: "✓",
};

/** Where a run or a job stands, as a sign, a word and a colour. */
export function StatusChip({ status }: { status: Status }) {
  return (
    <span className={`chip status-${status}`}>
      <span aria-hidden="true">{SIGNS[status]}</span> {status}
    </span>
  );
}
