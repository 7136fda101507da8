import { count, seconds, share } from "./format";
import "./Progress.css";

interface Props {
  /** What is done, e.g. `training`. */
  name: string;
  done: number | null | undefined;
  total: number | null | undefined;
  /** Of `done`, a second. */
  rate?: number | null | undefined;
  left_s?: number | null | undefined;
  /** What `done` counts, e.g. `steps`. */
  unit?: string;
}

/** How far something is, with rate and time left as far as they are known. */
export function Progress({ name, done, total, rate, left_s, unit = "" }: Props) {
  const known = typeof done === "number" && typeof total === "number" && total > 0;
  return (
    <div className="progress">
      <progress aria-label={name} {...(known ? { value: done, max: total } : {})} />
      <p>
        {known ? (
          <>
            {share(Math.floor((1000 * done) / total) / 1000)}{" "}
            <span className="muted">
              {count(done)} of {count(total)} {unit}
            </span>
          </>
        ) : typeof done === "number" ? (
          `${count(done)} ${unit}`
        ) : (
          <span className="muted">{name}</span>
        )}
        {typeof rate === "number" && rate > 0 && (
          <span className="muted"> · {rate >= 10 ? count(rate) : rate.toPrecision(2)}/s</span>
        )}
        {typeof left_s === "number" && <span> · {seconds(left_s)} left</span>}
      </p>
    </div>
  );
}
