import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { CopyButton } from "../../ui/CopyButton";
import { DictionaryName } from "../../ui/DictionaryName";
import { count } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { type Column, Table } from "../../ui/Table";
import { definition } from "../definitions";
import { flattened } from "../run/results";

type Page = Schemas["DictionaryPage"];
type AtlasLine = Schemas["AtlasLine"];
type Line = Schemas["DictionaryLine"];

/** Its atlases, what it can be compared with, and its configuration. */
export function AboutTab({ page, atlas }: { page: Page; atlas: string | null }) {
  const { line } = page;
  return (
    <div className="stack">
      <Panel
        title="Atlases"
        info="Each one counted the latents on a text of its own. The features are listed by the newest one unless another is chosen."
      >
        {page.atlases.length === 0 ? (
          <p className="muted">None yet.</p>
        ) : (
          <Table
            columns={atlasColumns(line.id, atlas ?? page.atlases[0]?.id ?? "")}
            rows={page.atlases}
            rowKey={({ id }) => id}
            caption="Atlases of this dictionary"
          />
        )}
      </Panel>
      {page.others.length > 0 && (
        <Panel
          title="Compare with"
          info="Dictionaries of the same model that write as wide a stream, nearest sites first."
        >
          <Table
            columns={otherColumns(line.id)}
            rows={page.others}
            rowKey={({ id }) => id}
            caption="Dictionaries to compare with"
          />
        </Panel>
      )}
      <Panel title="Configuration" actions={<CopyButton text={page.digest} name="Copy digest" />}>
        <dl className="recipe mono">
          {[["digest", page.digest] as const, ...flattened(page.config)].map(([key, value]) => (
            <div key={key}>
              <dt>{key}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      </Panel>
    </div>
  );
}

const atlasColumns = (dictionary: string, shown: string): Column<AtlasLine>[] => [
  {
    id: "id",
    title: "Atlas",
    cell: ({ id }) =>
      id === shown ? (
        <span className="mono">{id} (shown)</span>
      ) : (
        <Link
          className="mono"
          href={`/dictionaries/${encodeURIComponent(dictionary)}?atlas=${id}&tab=features`}
        >
          {id}
        </Link>
      ),
  },
  { id: "where", title: "Where", cell: ({ where }) => <span className="mono">{where}</span> },
  {
    id: "run",
    title: "Run",
    cell: ({ run }) => (run ? <Link href={`/runs/${encodeURIComponent(run)}`}>{run}</Link> : "–"),
  },
  {
    id: "tokens",
    title: "Tokens counted",
    numeric: true,
    cell: ({ n_tokens: n }) => count(n),
    value: ({ n_tokens: n }) => n,
  },
  {
    id: "examples",
    title: "Examples a latent",
    info: "Stretches of text that are kept of a latent, at most.",
    numeric: true,
    cell: ({ n_examples_kept: n }) => count(n),
    value: ({ n_examples_kept: n }) => n,
  },
  {
    id: "labels",
    title: "Labels known",
    numeric: true,
    cell: ({ n_labels_known: n, n_labels: all }) =>
      all > 0 ? `${count(n)} of ${count(all)}` : "none written",
    value: ({ n_labels_known: n }) => n,
  },
  {
    id: "explainers",
    title: "Written by",
    cell: ({ explainers }) => explainers.join(", ") || "–",
  },
];

const otherColumns = (dictionary: string): Column<Line>[] => [
  { id: "name", title: "Dictionary", cell: (line) => <DictionaryName line={line} /> },
  ...(["explained_variance_centred", "l0"] as const).map(
    (key): Column<Line> => ({
      id: key,
      title: definition(key).title,
      info: definition(key).info,
      numeric: true,
      cell: (line) => definition(key).format(line[key]),
      value: (line) => line[key] ?? null,
    }),
  ),
  {
    id: "compare",
    title: "Side by side",
    cell: ({ id }) => (
      <Link href={`/compare?a=${encodeURIComponent(dictionary)}&b=${encodeURIComponent(id)}`}>
        Compare
      </Link>
    ),
  },
];
