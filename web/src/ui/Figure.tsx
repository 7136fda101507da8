import type { ReactNode } from "react";
import type { Schemas } from "../api/client";
import { interval as asText } from "./format";
import { Info } from "./Info";
import "./Figure.css";

interface Props {
  label: string;
  /** As it shall be read, e.g. from `format.ts`. */
  value: ReactNode;
  unit?: string;
  /** The definition, behind an "i". */
  info?: ReactNode;
  /** An estimate whose 95 % interval is shown, or the text of one. */
  interval?: Schemas["Estimate"] | string | null;
}

/** One number with its name, unit and interval; several stand in a `<dl className="figures">`. */
export function Figure({ label, value, unit, info, interval }: Props) {
  const range = typeof interval === "string" ? interval : asText(interval);
  return (
    <div className="figure">
      <dt>
        {label} {info && <Info about={label}>{info}</Info>}
      </dt>
      <dd>
        <span className="figure-value">{value}</span>
        {unit && <span className="figure-unit"> {unit}</span>}
        {range && (
          <span className="figure-interval" title="95 % interval">
            {range}
          </span>
        )}
      </dd>
    </div>
  );
}
