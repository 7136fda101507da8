import type { ReactNode } from "react";
import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { count, number } from "../../ui/format";
import { ModelName } from "./ModelName";

/** What the dictionary is: what it reads and writes, how wide and how sparse. */
export function DictionaryHead(props: { page: Schemas["DictionaryPage"]; actions: ReactNode }) {
  const { line, d_read: width } = props.page;
  const transcoder = line.reads !== line.writes;
  return (
    <header className="page-head">
      <div>
        <h1 tabIndex={-1} className="dictionary-title">
          {line.name}
        </h1>
        <p className="facts-line">
          <span>
            {transcoder ? "Transcoder" : "SAE"} on{" "}
            <span className="mono">
              {transcoder ? `${line.reads} → ${line.writes}` : line.reads}
            </span>
          </span>
          {line.model && (
            <span>
              of <ModelName name={line.model} />
            </span>
          )}
          <span>
            {count(line.n_latents)} latents
            {line.expansion !== null && width !== null
              ? `, ${number(line.expansion, 2)} for each of ${count(width)} coordinates`
              : ""}
          </span>
          <span>{line.sparsity}</span>
          {line.run && (
            <span>
              trained by <Link href={`/runs/${encodeURIComponent(line.run)}`}>{line.run}</Link>
            </span>
          )}
          {line.status === "atlas only" && <span className="chip">weights are not here</span>}
        </p>
      </div>
      <div className="page-actions">{props.actions}</div>
    </header>
  );
}
