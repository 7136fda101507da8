import { useState } from "react";
import type { Schemas } from "../../api/client";
import { FeatureLink } from "../../ui/FeatureLink";
import { count, number, share } from "../../ui/format";
import { type Column, Table } from "../../ui/Table";
import { visible } from "../../ui/glyphs";
import { percent } from "./logic";
import { listedFiring } from "./probing";

type Firing = Schemas["FiringLatent"];

interface Props {
  dictionary: string;
  /** The feature of the page, which is marked. */
  latent: number;
  probed: Schemas["Probed"];
  /** The token that it is ranked by; null: by the largest activation on any. */
  place: number | null;
}

const FIRST = 10;
const DENSE = 0.1;

/** All that fires on the text, as a table to sort; a token chosen in the text adds its column. */
export function FiringTable({ dictionary, latent, probed, place }: Props) {
  const [dense, setDense] = useState(false);
  const [all, setAll] = useState(false);
  const rows = listedFiring(probed.latents, dense ? 1 : DENSE, place);
  const at = (one: Firing) => (place === null ? null : (one.values[place] ?? 0));
  const byRank = rows.toSorted((a, b) => (at(b) ?? b.max) - (at(a) ?? a.max));
  const shown = all ? byRank : byRank.slice(0, FIRST);
  const peak = (one: Firing) =>
    visible(probed.tokens[one.peak]?.text ?? "", { showWhitespace: true, breakLines: false });
  const columns: Column<Firing>[] = [
    {
      id: "feature",
      title: "feature",
      cell: (one) => (
        <FeatureLink
          dictionary={dictionary}
          latent={one.latent}
          label={one.label}
          known={one.known}
        />
      ),
      value: (one) => one.latent,
    },
    ...(place === null
      ? []
      : [
          {
            id: "token",
            title: "here",
            info: "Its activation on the chosen token",
            numeric: true,
            cell: (one: Firing) => number(at(one)),
            value: at,
          },
        ]),
    {
      id: "max",
      title: "largest",
      info: "Its largest activation on the text",
      numeric: true,
      cell: (one) => number(one.max),
      value: (one) => one.max,
    },
    {
      id: "peak",
      title: "on",
      info: "The token on which it is largest",
      cell: (one) => <bdi className="token-chip mono">{peak(one)}</bdi>,
    },
    {
      id: "n",
      title: "tokens",
      info: "Tokens of the text on which it fires",
      numeric: true,
      cell: (one) => count(one.n_tokens),
      value: (one) => one.n_tokens,
    },
    {
      id: "density",
      title: "density",
      info: "The share of the atlas’s tokens on which it fires",
      numeric: true,
      cell: (one) => (one.density === null ? "–" : percent(one.density)),
      value: (one) => one.density,
    },
  ];
  return (
    <div className="firing">
      <div className="firing-head">
        <h3>
          {count(probed.n_firing)} features fire on it
          {probed.latents.length < probed.n_firing && (
            <span className="muted">, the strongest {count(probed.latents.length)} are listed</span>
          )}
        </h3>
        <label>
          <input
            type="checkbox"
            checked={dense}
            onChange={(event) => setDense(event.target.checked)}
          />{" "}
          also those that fire on more than {share(DENSE)} of all text
        </label>
      </div>
      {rows.length === 0 ? (
        <p className="muted">None of them fires {place === null ? "" : "on this token"}.</p>
      ) : (
        <Table
          caption="Features that fire on the text"
          columns={columns}
          rows={shown}
          rowKey={(one) => one.latent}
          sort={{ id: place === null ? "max" : "token", descending: true }}
          rowClass={(one) => (one.latent === latent ? "this-one" : undefined)}
        />
      )}
      {rows.length > FIRST && (
        <button type="button" className="small" onClick={() => setAll(!all)}>
          {all ? `First ${FIRST}` : `All ${rows.length}`}
        </button>
      )}
    </div>
  );
}
