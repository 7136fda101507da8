import { number } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { type Column, Table } from "../../ui/Table";
import { definition } from "../definitions";
import { type Figures, intervalOf, resultTables } from "./results";

type Row = { name: string; figures: Figures };

/** What the run found, with intervals. */
export function ResultsPanel({ results }: { results: Record<string, Figures> }) {
  const tables = resultTables(results);
  if (tables.length === 0) return null;
  return (
    <Panel
      title="Results"
      info="The figures that the run wrote down, each with its 95 % interval below it where it is an estimate. Hover a title for its definition."
    >
      <div className="stack">
        {tables.map(({ keys, rows }) =>
          rows.length === 1 && rows[0] ? (
            <ResultList key={keys.join()} keys={keys} row={rows[0]} />
          ) : (
            <Table
              key={keys.join()}
              columns={columnsOf(keys)}
              rows={rows}
              rowKey={({ name }) => name}
              caption={`Results of ${rows.map(({ name }) => name).join(", ")}`}
            />
          ),
        )}
      </div>
    </Panel>
  );
}

function columnsOf(keys: string[]): Column<Row>[] {
  const name: Column<Row> = {
    id: "name",
    title: "Name",
    cell: (row) => <span className="mono">{row.name}</span>,
    value: (row) => row.name,
  };
  return [
    name,
    ...keys.map((key): Column<Row> => {
      const { title, info } = definition(key);
      return {
        id: key,
        title,
        info,
        numeric: true,
        cell: ({ figures }) => <Value figures={figures} name={key} />,
        value: ({ figures }) => {
          const value = figures[key];
          return typeof value === "number" ? value : null;
        },
      };
    }),
  ];
}

function ResultList({ keys, row }: { keys: string[]; row: Row }) {
  return (
    <section>
      <h3 className="mono">{row.name}</h3>
      <dl className="result-list">
        {keys.map((key) => (
          <div key={key} title={definition(key).info}>
            <dt>{definition(key).title}</dt>
            <dd className="number">
              <Value figures={row.figures} name={key} />
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Value({ figures, name }: { figures: Figures; name: string }) {
  const value = figures[name];
  const ends = intervalOf(figures, name);
  if (typeof value !== "number") return <span>{plain(value)}</span>;
  const [low, high] = ends?.map((end) => number(end, 3)) ?? [];
  return (
    <>
      {definition(name).format(value)}
      {low !== high && (
        <span className="interval-below" title="95 % interval">
          {low} – {high}
        </span>
      )}
    </>
  );
}

const plain = (value: unknown) =>
  typeof value === "string" ? value : value === null ? "–" : JSON.stringify(value);
