import { useState } from "react";
import { number, seconds } from "../../ui/format";
import { Failed } from "../../ui/states";
import { WorkerNote } from "../feature/WorkerNote";
import {
  claimRequest,
  type ClaimTest,
  deed,
  FIRST_TEST,
  HOW,
  type How,
  mistake,
  type TestForm,
  testsOf,
  verdict,
} from "./claims";
import { type At, useTests, useTry } from "./useGraph";

export type Claimed = { nodes: readonly string[] } | { edge: readonly [string, string] };

interface Props {
  at: At;
  what: Claimed;
  /** What the graph says that it adds. */
  claim: number;
  /** Why nothing can be tried here; null: it can. */
  barred: string | null;
}

/** A claim beside what became of it when it was tried; one that was not reads "untested". */
export function TestPart({ at, what, claim, barred }: Props) {
  const tests = useTests(at);
  const attempt = useTry(at);
  const [form, setForm] = useState<TestForm>(FIRST_TEST);
  const own = testsOf(tests.data?.tests ?? [], what);
  const wrong = mistake(form);
  const name = JSON.stringify(what);
  const here = JSON.stringify(
    attempt.variables?.edge
      ? { edge: attempt.variables.edge }
      : { nodes: attempt.variables?.nodes },
  );
  const run = () => attempt.mutate(claimRequest(form, what));
  return (
    <section className="test-part" aria-label="Test of the claim">
      <p className="claim">
        The graph says: <strong className="number">{number(claim)}</strong> of the target.{" "}
        {own.length === 0 && <span className="chip untested">untested</span>}
      </p>
      {own.map((test) => (
        <TestLine key={test.id} test={test} />
      ))}
      {barred === null ? (
        <form
          className="test-form"
          onSubmit={(event) => {
            event.preventDefault();
            if (wrong === null && !attempt.isPending) run();
          }}
        >
          <span className="segments" role="group" aria-label="What is done to it">
            {(Object.keys(HOW) as How[]).map((how) => (
              <button
                key={how}
                type="button"
                className="small"
                aria-pressed={form.how === how}
                title={HOW[how].meaning}
                onClick={() => setForm({ ...form, how })}
              >
                {HOW[how].title}
              </button>
            ))}
          </span>
          {form.how !== "ablate" && (
            <input
              className="test-amount"
              inputMode="decimal"
              aria-label={form.how === "scale" ? "Multiply by" : "Set to"}
              value={form.amount}
              maxLength={20}
              onChange={(event) => setForm({ ...form, amount: event.target.value })}
            />
          )}
          <button
            type="submit"
            className="small primary"
            disabled={wrong !== null || attempt.isPending}
          >
            Test this
          </button>
        </form>
      ) : (
        <p className="muted hint">{barred}</p>
      )}
      {wrong !== null && barred === null && (
        <p className="problem" role="alert">
          {wrong}
        </p>
      )}
      {attempt.isPending && here === name && <WorkerNote />}
      {attempt.isError && here === name && <Failed error={attempt.error} />}
    </section>
  );
}

/** One test: what was expected, and by how much the target changed in both models. */
export function TestLine({ test }: { test: ClaimTest }) {
  const { word, tone } = verdict(test);
  const most = Math.max(Math.abs(test.expected), Math.abs(test.linear), Math.abs(test.real)) || 1;
  return (
    <div className="test-line">
      <p>
        <span className={`chip verdict ${tone}`}>{word}</span> {deed(test)}: {test.reads}{" "}
        <span className="number">{number(test.before)}</span> →{" "}
        <span className="number">{number(test.after)}</span>
        {test.share !== null && (
          <span className="muted"> · {number(test.share, 2)} of what was expected</span>
        )}
      </p>
      <dl className="test-bars">
        {(
          [
            ["expected", test.expected, "By how much the target should change, by the graph."],
            ["linear", test.linear, "In the linear model, through all that lies between."],
            ["model", test.real, "In the model itself, errors kept."],
          ] as const
        ).map(([name, value, meaning]) => (
          <div key={name} title={meaning}>
            <dt>{name}</dt>
            <dd>
              <i
                className={value < 0 ? "lowers" : "raises"}
                style={{ width: `${(50 * Math.abs(value)) / most}%` }}
              />
              <span className="number">{number(value)}</span>
            </dd>
          </div>
        ))}
      </dl>
      <p className="muted small-print">took {seconds(test.elapsed_s)}</p>
    </div>
  );
}
