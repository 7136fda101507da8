import { useState } from "react";
import type { Schemas } from "../../api/client";
import { count } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { percent, tokenLines } from "./logic";
import { TokenChip } from "./TokenChip";

const SHOWN = 8;

/** On which tokens it fires, and on how many of each. */
export function TokenPanel({ page }: { page: Schemas["FeaturePage"] }) {
  const [all, setAll] = useState(false);
  const lines = tokenLines(page);
  if (lines.length === 0) return null;
  return (
    <Panel
      title="Tokens"
      info="Peaks: how often the token is the strongest of a stretch of text. Fires on: of all times that the token occurs, the share on which it fires, counted on the text that explainers may read."
      actions={
        lines.length > SHOWN && (
          <button type="button" className="small" onClick={() => setAll(!all)}>
            {all ? "Fewer" : `All ${lines.length}`}
          </button>
        )
      }
    >
      <table className="token-table">
        <thead>
          <tr>
            <th scope="col">token</th>
            <th scope="col" className="number">
              peaks
            </th>
            <th scope="col" className="number">
              fires on
            </th>
            <th scope="col">
              <span className="off-screen">share as a bar</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {(all ? lines : lines.slice(0, SHOWN)).map((line) => {
            const rate = line.fired !== null && line.seen ? line.fired / line.seen : null;
            return (
              <tr key={line.id}>
                <td>
                  <TokenChip text={line.text} id={line.id} />
                </td>
                <td className="number">{line.peaks > 0 ? count(line.peaks) : "–"}</td>
                <td
                  className="number"
                  title={
                    rate === null ? undefined : `${count(line.fired)} of ${count(line.seen)} times`
                  }
                >
                  {rate === null ? "–" : percent(rate)}
                </td>
                <td>
                  <span className="rate" aria-hidden="true">
                    <span style={{ width: `${100 * (rate ?? 0)}%` }} />
                  </span>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Panel>
  );
}
