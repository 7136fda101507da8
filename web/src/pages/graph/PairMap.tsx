import { useMemo, useState } from "react";
import type { Schemas } from "../../api/client";
import { activation } from "../../ui/colour";
import { number, rounded } from "../../ui/format";
import { siteWords, tokenText } from "./columns";
import { largestIn, type ScorePanel, type ScoreSide, strongest } from "./pairs";

interface Props {
  panel: ScorePanel;
  tokens: Schemas["GraphToken"][];
  onFocus: (id: string) => void;
}

const SHOWN = 12;

/** Rows write at the query, columns at the key; at the ends what each adds with all of the other side. */
export function PairMap({ panel, tokens, onFocus }: Props) {
  const [n, setN] = useState(SHOWN);
  const cut = useMemo(() => strongest(panel, n), [panel, n]);
  const most = largestIn(cut.values);
  const twoKeys = typeof panel.against === "number";
  const name = (side: ScoreSide | undefined) =>
    sideName(side, tokens) +
    (twoKeys && side && side.position !== panel.query ? ` @${side.position}` : "");
  const keys = cut.keys.map((k) => panel.keys[k]);
  const sums = cut.values[0]?.map((_, k) =>
    cut.values.reduce((sum, row) => sum + (row[k] ?? 0), 0),
  );
  const hasMore = Math.max(panel.queries.length, panel.keys.length) > n;
  return (
    <div className="pair-map">
      <div className="table-scroll" role="region" aria-label="Pairs of the score" tabIndex={0}>
        <table>
          <caption className="off-screen">
            What each writer at the query (rows) adds with each writer at the key (columns)
          </caption>
          <thead>
            <tr>
              <td className="muted corner">query ↓ &nbsp; key →</td>
              {keys.map((side, k) => (
                <th key={k} scope="col" title={side?.id}>
                  <span>
                    <SideButton side={side} name={name(side)} onFocus={onFocus} />
                  </span>
                </th>
              ))}
              <th scope="col">
                <span>others</span>
              </th>
              <th scope="col" className="total">
                <span>sum</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {cut.values.map((row, q) => {
              const side = panel.queries[cut.queries[q] ?? -1];
              return (
                <tr key={q}>
                  <th scope="row" title={side?.id}>
                    {side ? (
                      <SideButton side={side} name={name(side)} onFocus={onFocus} />
                    ) : (
                      <span className="muted">others</span>
                    )}
                  </th>
                  {row.map((value, k) => (
                    <Cell key={k} value={value} most={most} />
                  ))}
                  <td className="total number">{rounded(row.reduce((a, b) => a + b, 0))}</td>
                </tr>
              );
            })}
            <tr className="sums">
              <th scope="row">sum</th>
              {sums?.map((value, k) => (
                <td key={k} className="number">
                  {rounded(value)}
                </td>
              ))}
              <td className="total number">
                <strong>{rounded(panel.value)}</strong>
              </td>
            </tr>
          </tbody>
        </table>
      </div>
      <p className="muted small-print">
        Orange raises the score, blue lowers it. {panel.n_queries} things write at the query and{" "}
        {panel.n_keys} at the key; the strongest are shown, all else is in “others”.{" "}
        {hasMore && (
          <button type="button" className="small" onClick={() => setN(2 * n)}>
            Show more
          </button>
        )}
      </p>
    </div>
  );
}

function Cell({ value, most }: { value: number; most: number }) {
  const { background, ink } = activation(value, most);
  const faint = Math.abs(value) < 0.005 * most;
  return (
    <td className="number pair" style={faint ? undefined : { background, color: ink }}>
      <span className={faint ? "muted" : undefined} title={number(value)}>
        {faint ? "·" : rounded(value, 2)}
      </span>
    </td>
  );
}

function SideButton({
  side,
  name,
  onFocus,
}: {
  side: ScoreSide | undefined;
  name: string;
  onFocus: (id: string) => void;
}) {
  if (!side) return <span>others</span>;
  if (side.place === null) return <bdi>{name}</bdi>;
  return (
    <button type="button" className="plain" onClick={() => onFocus(side.id)}>
      <bdi>{name}</bdi>
    </button>
  );
}

/** What is written by whom; positions stand beside it where keys of two positions meet. */
function sideName(side: ScoreSide | undefined, tokens: Schemas["GraphToken"][]): string {
  if (!side) return "others";
  const site = side.site ? siteWords(side.site) : "";
  if (side.kind === "token") return tokenText(tokens[side.position]?.text);
  if (side.kind === "position") return `position ${side.position}`;
  if (side.kind === "constant") return `bias ${site || side.id.replace(/^constant:|@\d+$/g, "")}`;
  if (side.kind === "feature")
    return side.label && side.label_known ? side.label : `${side.site}/${side.latent}`;
  return side.kind === "leaf" ? site : `${side.kind} ${site}`;
}

const PAIRS = 14;

/** The strongest pairs in a list, to read what the map shows. */
export function PairList({ panel, tokens, onFocus }: Props) {
  const pairs = panel.pairs.slice(0, PAIRS);
  const most = Math.max(...pairs.map(({ value }) => Math.abs(value)), 0) || 1;
  if (pairs.length === 0) return null;
  return (
    <section className="ends" aria-label="Strongest pairs">
      <h3>
        Strongest pairs <span className="muted">query × key</span>
      </h3>
      <ol>
        {pairs.map(({ query, key, value }) => {
          const [from, to] = [panel.queries[query], panel.keys[key]];
          return (
            <li key={`${query} ${key}`}>
              <div className="end">
                <i
                  className={`flow-bar ${value < 0 ? "lowers" : "raises"}`}
                  style={{ width: `${(100 * Math.abs(value)) / most}%` }}
                />
                <span className="pair-name">
                  <SideButton side={from} name={sideName(from, tokens)} onFocus={onFocus} /> ×{" "}
                  <SideButton side={to} name={sideName(to, tokens)} onFocus={onFocus} />
                </span>
                <span className="number">{number(value)}</span>
              </div>
            </li>
          );
        })}
      </ol>
    </section>
  );
}
