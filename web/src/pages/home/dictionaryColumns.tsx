import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { DictionaryName } from "../../ui/DictionaryName";
import { count, fixed, fixedShare, number } from "../../ui/format";
import type { Column } from "../../ui/Table";

/** A run's folder without its date and hash: `20261123-103401-demo-145f7b01` is `demo`. */
const runName = (id: string) => id.replace(/^(?:.*\/)?\d{8}-\d{6}-(.+)-[0-9a-f]{8}$/, "$1");

/** The columns of the list of dictionaries, with their definitions. */
export const COLUMNS: Column<Schemas["DictionaryLine"]>[] = [
  {
    id: "name",
    title: "Dictionary",
    info: "Where it reads and writes, how many latents it has, and how few of them are active at once",
    cell: (line) => <DictionaryName line={line} />,
    value: (line) => `${line.part} ${line.layer ?? ""} ${line.n_latents}`,
  },
  {
    id: "model",
    title: "Model",
    cell: (line) => line.model ?? <span className="muted">unknown</span>,
    value: (line) => line.model,
  },
  {
    id: "run",
    title: "Trained in",
    info: "The run that trained it",
    cell: (line) =>
      !line.run ? (
        <span className="muted">elsewhere</span>
      ) : (
        <Link
          href={`/runs/${encodeURIComponent(line.run)}`}
          className="dictionary-name"
          title={line.run}
        >
          {runName(line.run)}
        </Link>
      ),
    value: (line) => line.run ?? null,
  },
  {
    id: "l0",
    title: "L0",
    info: "Active latents a token, on average over held-out text",
    numeric: true,
    cell: (line) => number(line.l0),
    value: (line) => line.l0 ?? null,
  },
  {
    id: "ev",
    title: "Explained variance",
    info: "Share of the activations' variance about their mean that the reconstruction explains, on held-out text; 1 is perfect",
    numeric: true,
    cell: (line) => fixed(line.explained_variance_centred),
    value: (line) => line.explained_variance_centred ?? null,
  },
  {
    id: "ce",
    title: "CE recovered",
    info: "How much of the cross-entropy lost by ablating the site to zero comes back with the reconstruction in its place; 1 is all of it",
    numeric: true,
    cell: (line) => fixed(line.ce_recovered_zero),
    value: (line) => line.ce_recovered_zero ?? null,
  },
  {
    id: "dead",
    title: "Dead",
    info: "Share of its latents that never fired on the held-out text",
    numeric: true,
    cell: (line) => fixedShare(line.dead_fraction),
    value: (line) => line.dead_fraction ?? null,
  },
  {
    id: "labels",
    title: "Labels known",
    info: "Features whose label scored above the threshold on text that its writer had not read",
    numeric: true,
    cell: (line) =>
      line.has_atlas ? (
        count(line.n_labels_known)
      ) : (
        <span className="muted" title="Build one: lmscope atlas build RUN">
          no atlas
        </span>
      ),
    value: (line) => (line.has_atlas ? (line.n_labels_known ?? 0) : null),
  },
  {
    id: "status",
    title: "Status",
    info: "Trained; measured on held-out text; or its atlas only, where its weights are not here",
    cell: (line) => <span className="muted">{line.status}</span>,
    value: (line) => line.status,
  },
];
