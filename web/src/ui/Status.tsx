import "./Status.css";

const SIGNS: Record<string, string> = {
  running: "●",
  busy: "●",
  done: "✓",
  measured: "✓",
  ready: "✓",
  failed: "✕",
  interrupted: "❙❙",
  cancelled: "❙❙",
};

/** A state by its word, with a sign and a colour beside it. */
export function Status({ status, title }: { status: string; title?: string | undefined }) {
  return (
    <span className={`status ${status.replaceAll(" ", "-")}`} title={title}>
      <span aria-hidden="true">{SIGNS[status] ?? "○"}</span> {status}
    </span>
  );
}
