import { useState } from "react";
import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { count } from "../../ui/format";
import type { Step } from "./useStep";

/** Previous, next, and the way to any feature by its number. */
export function StepBar({ page, step }: { page: Schemas["FeaturePage"]; step: Step }) {
  const [typed, setTyped] = useState<string | null>(null);
  const last = page.n_latents - 1;
  const go = () => {
    const wanted = Number(typed);
    if (typed !== null && typed.trim() !== "" && Number.isInteger(wanted))
      step.go(Math.min(last, Math.max(0, wanted)));
    setTyped(null);
  };
  return (
    <nav className="step-bar" aria-label="Features">
      <StepLink to={step.previous} step={step} name="Previous feature (k)" sign="‹" />
      <form
        onSubmit={(event) => {
          event.preventDefault();
          go();
        }}
      >
        <input
          aria-label={`Feature, from 0 to ${last}`}
          inputMode="numeric"
          value={typed ?? String(page.latent)}
          size={Math.max(3, String(last).length)}
          onChange={(event) => setTyped(event.target.value.replace(/\D/g, ""))}
          onFocus={(event) => event.target.select()}
          onBlur={() => setTyped(null)}
        />
      </form>
      <span className="muted">of {count(page.n_latents)}</span>
      <StepLink to={step.next} step={step} name="Next feature (j)" sign="›" />
    </nav>
  );
}

function StepLink({
  to,
  step,
  name,
  sign,
}: {
  to: number | null;
  step: Step;
  name: string;
  sign: string;
}) {
  if (to === null)
    return (
      <span className="as-button off" aria-hidden="true">
        {sign}
      </span>
    );
  return (
    <Link className="as-button" href={step.address(to)} aria-label={name} title={name}>
      {sign}
    </Link>
  );
}
