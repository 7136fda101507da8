import { RequestFailed } from "../api/client";

export function Loading({ what }: { what?: string }) {
  return (
    <p className="state" role="status">
      Loading{what ? ` ${what}` : ""} …
    </p>
  );
}

/** A refusal as the server says it: what was found, and what to do. */
export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const message = error instanceof Error ? error.message : String(error);
  const hint = error instanceof RequestFailed ? error.hint : null;
  return (
    <div className="state failed" role="alert">
      <p>{message}</p>
      {hint && <p className="muted">{hint}</p>}
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Empty({ children }: { children: React.ReactNode }) {
  return <p className="state muted">{children}</p>;
}
