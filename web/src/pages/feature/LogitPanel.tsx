import { useState } from "react";
import type { Schemas } from "../../api/client";
import { fixed } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { TokenChip } from "./TokenChip";

const SHOWN = 8;

/** The tokens that it makes more and less probable by itself. */
export function LogitPanel({ page }: { page: Schemas["FeaturePage"] }) {
  const [all, setAll] = useState(false);
  const { top_logits: top, bottom_logits: bottom } = page;
  const most = Math.max(...[...top, ...bottom].map((one) => Math.abs(one.value)), 0);
  const n = Math.max(top.length, bottom.length);
  return (
    <Panel
      title="Logits"
      info="The tokens whose logits one unit of its activation changes most on the direct way to the output, with the size of the stream at the final norm held fixed. What later layers make of it is not in it."
      actions={
        n > SHOWN && (
          <button type="button" className="small" onClick={() => setAll(!all)}>
            {all ? "Fewer" : `All ${n}`}
          </button>
        )
      }
    >
      {n === 0 ? (
        <p className="muted">
          None: between what this dictionary writes and the output stands another matrix.
        </p>
      ) : (
        <div className="logits">
          <Bars
            title="Raises"
            sign="positive"
            tokens={all ? top : top.slice(0, SHOWN)}
            full={most}
          />
          <Bars
            title="Lowers"
            sign="negative"
            tokens={all ? bottom : bottom.slice(0, SHOWN)}
            full={most}
          />
        </div>
      )}
    </Panel>
  );
}

interface BarsProps {
  title: string;
  sign: "positive" | "negative";
  tokens: Schemas["WeightedToken"][];
  full: number;
}

function Bars({ title, sign, tokens, full }: BarsProps) {
  // The largest one has two digits, and all stand below each other.
  const decimals = full > 0 ? Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(full)))) : 0;
  return (
    <div className="logit-side">
      <h3>{title}</h3>
      <ol>
        {tokens.map((token) => (
          <li key={token.id}>
            <span
              className={`logit-bar ${sign}`}
              style={{ width: `${full > 0 ? (100 * Math.abs(token.value)) / full : 0}%` }}
            />
            <TokenChip text={token.text} id={token.id} />
            <span className="number">{fixed(token.value, decimals)}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}
