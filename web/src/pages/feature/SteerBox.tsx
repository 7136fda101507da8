import type { RefObject } from "react";
import type { Schemas } from "../../api/client";
import { Failed } from "../../ui/states";
import { GrowingBox } from "./GrowingBox";
import { SteerAmount } from "./SteerAmount";
import { SteerOptions } from "./SteerOptions";
import { SteerResult } from "./SteerResult";
import { KINDS, mistake, type SteerForm, type SteerKind } from "./steering";
import type { Steer } from "./useSteer";
import { WorkerNote } from "./WorkerNote";

interface Props {
  page: Schemas["FeaturePage"];
  box: RefObject<HTMLTextAreaElement | null>;
  form: SteerForm;
  onForm: (form: SteerForm) => void;
  steer: Steer;
}

/** Changes the feature while the model writes, beside the unedited model and a random direction. */
export function SteerBox({ page, box, form, onForm, steer }: Props) {
  const wrong = mistake(form);
  const change = (part: Partial<SteerForm>) => onForm({ ...form, ...part });
  const ask = () => {
    if (wrong === null && !steer.isPending) steer.mutate(form);
  };
  const answer = steer.data?.dictionary === page.dictionary.id ? steer.data : null;
  return (
    <div className="steer-box">
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          ask();
        }}
      >
        <div className="ask">
          <GrowingBox
            box={box}
            name="Prompt"
            placeholder="A prompt to go on from, e.g. Yesterday I (p)"
            value={form.prompt}
            onChange={(prompt) => change({ prompt })}
            onEnter={ask}
          />
          <button type="submit" className="primary" disabled={wrong !== null || steer.isPending}>
            Steer
          </button>
        </div>
        <div className="steer-how">
          <span className="segments" role="group" aria-label="What is done to the activation">
            {(Object.keys(KINDS) as SteerKind[]).map((kind) => (
              <button
                key={kind}
                type="button"
                className="small"
                aria-pressed={form.kind === kind}
                title={KINDS[kind].meaning}
                onClick={() => change({ kind })}
              >
                {KINDS[kind].title}
              </button>
            ))}
          </span>
          {form.kind !== "ablate" && (
            <SteerAmount kind={form.kind} amount={form.amount} max={page.max} onChange={change} />
          )}
          <span className="muted">{KINDS[form.kind].meaning}</span>
        </div>
        <SteerOptions form={form} onChange={change} />
        {wrong !== null && form.prompt !== "" && (
          <p className="problem" role="alert">
            {wrong}
          </p>
        )}
      </form>
      {steer.isPending && <WorkerNote />}
      {steer.isError && <Failed error={steer.error} retry={ask} />}
      {answer && !steer.isPending && !steer.isError && (
        <>
          {answer.latent !== page.latent && (
            <p className="hint muted">What follows was steered with feature {answer.latent}.</p>
          )}
          <SteerResult answer={answer.answer} prompt={answer.form.prompt} />
        </>
      )}
    </div>
  );
}
