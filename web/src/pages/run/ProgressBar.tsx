import "./ProgressBar.css";

interface Props {
  done: number | null;
  total: number | null;
  /** What makes progress, for screen readers. */
  label: string;
}

/** A bar that fills; one without an end where nobody knows how much there is. */
export function ProgressBar({ done, total, label }: Props) {
  const share = done !== null && total ? Math.min(1, done / total) : null;
  return (
    <div
      className={share === null ? "progress unknown" : "progress"}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={share === null ? undefined : Math.round(100 * share)}
    >
      <div style={{ width: share === null ? "30%" : `${(100 * share).toFixed(2)}%` }} />
    </div>
  );
}
