import { number, share } from "../../ui/format";
import { TokenChip } from "../feature/TokenChip";
import type { Shown } from "./useShown";

const SHOWN = 9;

/** Where to begin: the prediction, and what adds most to it. */
export function NothingFocused({ shown, onFocus }: { shown: Shown; onFocus: (i: number) => void }) {
  const { nodes, ordered, page, nameOf } = shown;
  const { record } = page;
  const of = (kind: string) => ordered.filter((i) => nodes.kind[i] === kind).slice(0, SHOWN);
  return (
    <div className="node-panel">
      <p className="muted">
        Click a node to see only its links, what it is, and whether it does what the graph says.
      </p>
      {record.predictions.length > 0 && (
        <section className="ends">
          <h3>The model’s prediction</h3>
          <ol>
            {record.predictions.map(({ token, text, probability }) => (
              <li key={token}>
                <div className="end">
                  <i className="flow-bar plain-bar" style={{ width: `${100 * probability}%` }} />
                  <TokenChip text={text} id={token} />
                  <span className="number">{share(probability)}</span>
                </div>
              </li>
            ))}
          </ol>
        </section>
      )}
      {(
        [
          ["feature", "Strongest features"],
          ["token", "Strongest tokens"],
        ] as const
      ).map(([kind, title]) => {
        const rows = of(kind);
        const most = Math.abs(nodes.attribution[rows[0] ?? -1] ?? 0) || 1;
        return (
          rows.length > 0 && (
            <section className="ends" key={kind}>
              <h3>{title}</h3>
              <ol>
                {rows.map((i) => {
                  const value = nodes.attribution[i] ?? 0;
                  return (
                    <li key={nodes.id[i]}>
                      <div className="end">
                        <i
                          className={`flow-bar ${value < 0 ? "lowers" : "raises"}`}
                          style={{ width: `${(100 * Math.abs(value)) / most}%` }}
                        />
                        <button type="button" className="plain" onClick={() => onFocus(i)}>
                          <i className={`sign ${kind}`} aria-hidden="true" />
                          <bdi>{nameOf(i)}</bdi>
                          <span className="muted"> @{nodes.position[i]}</span>
                        </button>
                        <span className="number">{number(value)}</span>
                      </div>
                    </li>
                  );
                })}
              </ol>
            </section>
          )
        );
      })}
    </div>
  );
}
