import type { Schemas } from "../../api/client";
import { CopyButton } from "../../ui/CopyButton";
import { number, seconds } from "../../ui/format";
import { Info } from "../../ui/Info";
import { SteerArm } from "./SteerArm";
import { tokensInCommon } from "./steering";
import { TokenShifts } from "./TokenShifts";

const ARMS = {
  clean: { title: "Unedited", meaning: "The model as it is." },
  steered: { title: "Steered", meaning: "With the feature changed. What differs is underlined." },
  random: {
    title: "Random direction",
    meaning:
      "The same change along a random direction of equal size: what any push of this strength does.",
  },
} as const;

interface Props {
  answer: Schemas["SteerAnswer"];
  prompt: string;
}

/** What became of the prompt in three ways, and of the first new token. */
export function SteerResult({ answer, prompt }: Props) {
  const clean = answer.arms.find(({ name }) => name === "clean");
  return (
    <div className="steer-result stack">
      <p className="test-says" role="status">
        {answer.changes.join("; ")}
        <span className="muted"> · {seconds(answer.elapsed_s)}</span>
      </p>
      <div className="arms">
        {(["clean", "steered", "random"] as const).map((name) => {
          const arm = answer.arms.find((one) => one.name === name);
          return arm ? (
            <SteerArm
              key={name}
              {...ARMS[name]}
              arm={arm}
              prompt={prompt}
              same={
                name === "clean" || !clean
                  ? arm.tokens.length
                  : tokensInCommon(clean.tokens, arm.tokens)
              }
            />
          ) : null;
        })}
      </div>
      <section aria-label="The first new token" className="shifts">
        <h3>
          The first new token{" "}
          <span className="muted">
            changes by {number(answer.next_token_kl)} nats{" "}
            <Info about="the change of the first new token">
              The Kullback–Leibler divergence of the steered prediction from the unedited one: 0 if
              nothing changes. With new tokens steered only, the first one is not touched yet.
            </Info>
          </span>
        </h3>
        <div className="shift-sides">
          <TokenShifts title="Rises" shifts={answer.raised} />
          <TokenShifts title="Falls" shifts={answer.lowered} />
        </div>
      </section>
      <div className="steer-command">
        <pre tabIndex={0} aria-label="The same as a command">
          {answer.command}
        </pre>
        <CopyButton text={answer.command} name="Copy command" />
      </div>
    </div>
  );
}
