import type { Schemas } from "../../api/client";
import { number, share } from "../../ui/format";
import { visible } from "../../ui/glyphs";

interface Props {
  title: string;
  meaning: string;
  arm: Schemas["SteerAnswer"]["arms"][number];
  prompt: string;
  /** Tokens at its beginning that the unedited model writes too. */
  same: number;
}

/** How the prompt goes on in one way; a token tells how probable it was. */
export function SteerArm({ title, meaning, arm, prompt, same }: Props) {
  const mean =
    arm.log_probs.length > 0
      ? arm.log_probs.reduce((sum, one) => sum + one, 0) / arm.log_probs.length
      : null;
  return (
    <section className={`arm ${arm.name}`} aria-label={title}>
      <h3 title={meaning}>{title}</h3>
      <p dir="auto" className="arm-text">
        <span className="muted">
          {visible(prompt, { showWhitespace: false, breakLines: true })}
        </span>
        {arm.tokens.map((token, i) => {
          const logProb = arm.log_probs[i];
          return (
            <span
              key={i}
              className={i < same ? undefined : "differs"}
              title={logProb === undefined ? undefined : `probability ${share(Math.exp(logProb))}`}
            >
              {visible(token, { showWhitespace: false, breakLines: true })}
            </span>
          );
        })}
        {arm.tokens.length === 0 && <span className="muted"> (ends at once)</span>}
      </p>
      {mean !== null && (
        <p
          className="hint muted"
          title="The mean log-probability of its tokens, as this arm saw them"
        >
          {number(mean)} nats a token
        </p>
      )}
    </section>
  );
}
