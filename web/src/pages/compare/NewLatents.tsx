import { useState } from "react";
import type { Schemas } from "../../api/client";
import { FeatureLink } from "../../ui/FeatureLink";
import { count, fixed, share } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { Empty } from "../../ui/states";
import { type Column, Table } from "../../ui/Table";

interface Props {
  wide: string;
  latents: Schemas["Child"][];
  threshold: number;
}

const FIRST = 20;

/** Latents of the wide dictionary that no latent of the narrow one is near to. */
export function NewLatents({ wide, latents, threshold }: Props) {
  const [all, setAll] = useState(false);
  const columns: Column<Schemas["Child"]>[] = [
    {
      id: "feature",
      title: "feature",
      cell: (row) => <FeatureLink dictionary={wide} latent={row.latent} label={row.label} />,
    },
    {
      id: "density",
      title: "density",
      info: "Share of the atlas's tokens on which it fires.",
      numeric: true,
      cell: (row) => share(row.density),
      value: (row) => row.density,
    },
    {
      id: "cosine",
      title: "nearest",
      info: "Cosine with the nearest latent of the narrow dictionary.",
      numeric: true,
      cell: (row) => fixed(row.cosine, 3),
      value: (row) => row.cosine,
    },
  ];
  return (
    <Panel
      title="New in the wide dictionary"
      info={`Latents whose nearest latent in the narrow dictionary has a cosine below ${fixed(threshold, 2)}: what the narrow dictionary has no direction for. Those that fire most come first.`}
    >
      {latents.length === 0 ? (
        <Empty>Every latent of the wide dictionary has a parent.</Empty>
      ) : (
        <div className="new-latents">
          <Table
            caption="Latents that are new in the wide dictionary"
            columns={columns}
            rows={all ? latents : latents.slice(0, FIRST)}
            rowKey={({ latent }) => latent}
          />
          {!all && latents.length > FIRST && (
            <button type="button" onClick={() => setAll(true)}>
              Show {count(latents.length)}
            </button>
          )}
        </div>
      )}
    </Panel>
  );
}
