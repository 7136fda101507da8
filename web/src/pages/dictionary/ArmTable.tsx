import type { Schemas } from "../../api/client";
import { interval, number } from "../../ui/format";
import { type Column, Table } from "../../ui/Table";
import { definition } from "../definitions";
import { armMeaning, armName, columnsOf } from "./arms";

type Arm = Schemas["DictionaryPage"]["evaluations"][number]["arms"][number];

/** The dictionary and what it is measured against, a row each. */
export function ArmTable({ arms }: { arms: Arm[] }) {
  const columns: Column<Arm>[] = [
    {
      id: "name",
      title: "In place of the activation",
      cell: ({ name }) => <span title={armMeaning(name)}>{armName(name)}</span>,
      value: ({ name }) => name,
    },
    {
      id: "n_active",
      title: "Active",
      info: definition("n_active").info,
      numeric: true,
      cell: ({ n_active: n }) => number(n, 3),
      value: ({ n_active: n }) => n,
    },
    ...columnsOf(arms).map((key): Column<Arm> => {
      const { title, info } = definition(key);
      return {
        id: key,
        title,
        info,
        numeric: true,
        cell: ({ figures }) => <Cell estimate={figures[key]} />,
        value: ({ figures }) => figures[key]?.value ?? null,
      };
    }),
  ];
  return (
    <Table
      columns={columns}
      rows={arms}
      rowKey={({ name }) => name}
      rowClass={({ name }) => (name === "dictionary" ? "own-arm" : undefined)}
      caption="The dictionary beside its baselines"
    />
  );
}

function Cell({ estimate }: { estimate: Schemas["Estimate"] | undefined }) {
  if (!estimate) return <>–</>;
  const exact = estimate.low === estimate.high;
  return (
    <>
      {number(estimate.value, 3)}
      {!exact && <span className="interval-below">{interval(estimate, 3)}</span>}
    </>
  );
}
