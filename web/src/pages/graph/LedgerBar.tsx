import type { Schemas } from "../../api/client";
import { number } from "../../ui/format";
import { Popover } from "../../ui/Popover";
import { barOf } from "./ledger";

const PATTERNS: Record<string, string> = {
  tokens: "var(--series-1)",
  positions: "var(--series-3)",
  errors: "var(--series-4)",
  leaves: "var(--series-5)",
  biases: "var(--series-2)",
  cut: "var(--muted)",
};
const TITLES: Record<string, string> = {
  tokens: "Tokens",
  positions: "Positions",
  errors: "Dictionary errors",
  leaves: "Untraced outputs",
  biases: "Biases",
  cut: "Cut by the threshold",
};

/** What the target is the sum of, as a bar and in figures; it sums to the target, or says by how much not. */
export function LedgerBar({ ledger }: { ledger: Schemas["GraphLedger"] }) {
  const { segments, zero, sum } = barOf(ledger.parts, ledger.target);
  const closes = Math.abs(ledger.residual) <= ledger.tolerance;
  return (
    <section className="ledger" aria-label="Ledger">
      <div className="ledger-bar" aria-hidden="true">
        {segments.map(({ name, value, from, to }) => (
          <span
            key={name}
            className={value < 0 ? "lowers" : undefined}
            title={`${TITLES[name] ?? name} ${number(value)}`}
            style={{
              left: `${100 * from}%`,
              width: `${100 * (to - from)}%`,
              backgroundColor: PATTERNS[name] ?? "var(--muted)",
            }}
          />
        ))}
        <i style={{ left: `${100 * zero}%` }} />
        <b style={{ left: `${100 * sum}%` }} title={`Sum ${number(ledger.target)}`} />
      </div>
      <ul className="ledger-parts">
        {ledger.parts
          .filter(({ value }) => value !== 0)
          .map(({ name, meaning, value, inner }) => (
            <li key={name}>
              <i style={{ backgroundColor: PATTERNS[name] ?? "var(--muted)" }} />
              <Popover
                className="plain"
                button={
                  <>
                    {TITLES[name] ?? name} <span className="number">{signed(value)}</span>
                  </>
                }
              >
                {meaning}
                {inner.length > 0 && (
                  <span className="ledger-inner">
                    {inner.slice(0, 12).map(([part = "", amount = 0]) => (
                      <span key={String(part)}>
                        <bdi className="mono">{part}</bdi>
                        <span className="number">{signed(Number(amount))}</span>
                      </span>
                    ))}
                    {inner.length > 12 && <span>and {inner.length - 12} more</span>}
                  </span>
                )}
              </Popover>
            </li>
          ))}
        <li className="ledger-sum">
          = <span className="number">{number(ledger.target, 5)}</span>{" "}
          <span
            className={closes ? "muted" : "problem"}
            title={`What rounding may leave: ${number(ledger.tolerance, 2)}`}
          >
            {closes ? "✓ closes" : "✗ does not close"}, residual {number(ledger.residual, 2)}
          </span>
        </li>
      </ul>
    </section>
  );
}

/** With its sign, also where it raises. */
const signed = (value: number) => (value > 0 ? `+${number(value)}` : number(value));
