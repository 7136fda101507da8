import { Link } from "wouter";
import type { Schemas } from "../api/client";
import { count } from "./format";

/** A link to a dictionary: where it reads and writes, and how wide it is. */
export function DictionaryName({ line }: { line: Schemas["DictionaryLine"] }) {
  const site = line.reads === line.writes ? line.reads : `${line.reads} → ${line.writes}`;
  return (
    <Link
      href={`/dictionaries/${encodeURIComponent(line.id)}`}
      className="dictionary-name"
      title={`${line.name}, digest ${line.id.split(".").at(-1)}`}
    >
      <span className="mono">{site}</span>{" "}
      <span className="dictionary-width">
        {count(line.n_latents)} {line.sparsity}
      </span>
    </Link>
  );
}
