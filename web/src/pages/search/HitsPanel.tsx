import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { DictionaryName } from "../../ui/DictionaryName";
import { FeatureLink } from "../../ui/FeatureLink";
import { count, fixed, number } from "../../ui/format";
import { visible } from "../../ui/glyphs";
import { type Column, Table } from "../../ui/Table";
import type { Asked } from "./address";
import { columnShare } from "./choice";
import "../../ui/Panel.css";

type Row = Schemas["FeatureLine"];

/** The features that one dictionary has. */
export function HitsPanel({ hits, asked }: { hits: Schemas["Hits"]; asked: Asked }) {
  const { dictionary, rows, total, value_name } = hits;
  const all = new URLSearchParams({ [asked.kind]: asked.query });
  return (
    <section className="panel" aria-label={`Found in ${dictionary.name}`}>
      <header className="panel-head">
        <h2>
          <DictionaryName line={dictionary} />
        </h2>
        {dictionary.model && <span className="muted">{dictionary.model}</span>}
        <span className="panel-actions muted">
          {total !== null && total !== undefined && total > rows.length ? (
            <>
              {count(rows.length)} of {count(total)}
              {asked.kind !== "near" && (
                <Link href={`/dictionaries/${encodeURIComponent(dictionary.id)}?${all.toString()}`}>
                  all in a list
                </Link>
              )}
            </>
          ) : (
            count(rows.length)
          )}
        </span>
      </header>
      <Table
        caption={`Features found in ${dictionary.name}`}
        columns={columns(dictionary.id, value_name ?? null)}
        rows={rows}
        rowKey={({ latent }) => latent}
      />
    </section>
  );
}

function columns(dictionary: string, valueName: string | null): Column<Row>[] {
  const value: Column<Row> = {
    id: "value",
    title: valueName ?? "value",
    info: "What the results are ranked by.",
    numeric: true,
    cell: (row) => (valueName === "cosine" ? fixed(row.value) : number(row.value)),
    value: (row) => row.value ?? null,
  };
  return [
    {
      id: "feature",
      title: "feature",
      cell: (row) => <FeatureLink dictionary={dictionary} {...row} />,
    },
    ...(valueName && valueName !== "number" ? [value] : []),
    {
      id: "peak",
      title: "peaks on",
      info: "The token at which it peaks most often.",
      cell: (row) =>
        row.peak !== null && (
          <bdi className="mono">
            {visible(row.peak, { showWhitespace: true, breakLines: false })}
          </bdi>
        ),
    },
    {
      id: "detection",
      title: "label score",
      info: "Detection: how well the label alone tells examples on which the latent fires from examples on which it does not, on text that its writer never saw. 0.5 is chance.",
      numeric: true,
      cell: (row) => fixed(row.detection, 2),
      value: (row) => row.detection,
    },
    {
      id: "density",
      title: "density",
      info: "Share of the atlas's tokens on which it fires.",
      numeric: true,
      cell: (row) => columnShare(row.density),
      value: (row) => row.density,
    },
    {
      id: "max",
      title: "largest",
      info: "Its largest activation in the atlas.",
      numeric: true,
      cell: (row) => number(row.max),
      value: (row) => row.max,
    },
  ];
}
