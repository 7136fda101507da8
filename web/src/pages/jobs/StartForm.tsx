import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useSearchParams } from "wouter";
import { client, data } from "../../api/client";
import { Panel } from "../../ui/Panel";
import { Failed } from "../../ui/states";
import { OptionFields } from "./OptionFields";
import { checked, type Draft, EMPTY, type Verb, VERBS } from "./recipe";
import { TargetFields } from "./TargetFields";

/** Starts a job; what it works on may stand in the address: `?run=`, `?verb=`, `?resume=`. */
export function StartForm({ recipes, free }: { recipes: string[]; free: boolean }) {
  const [query, setQuery] = useSearchParams();
  const queries = useQueryClient();
  const [draft, setDraft] = useState<Draft>(EMPTY);
  const given: Draft = {
    ...draft,
    verb: VERBS.find(({ verb }) => verb === query.get("verb"))?.verb ?? draft.verb,
    run: query.get("run") ?? "",
    resume: query.get("resume") ?? "",
  };
  const form = VERBS.find(({ verb }) => verb === given.verb);
  const { request, problem } = checked(given);
  const start = useMutation({
    mutationFn: (body: NonNullable<typeof request>) => data(client.POST("/api/jobs", { body })),
    onSuccess: () => {
      if (given.resume) address({ resume: null });
      return queries.invalidateQueries({ queryKey: ["jobs"] });
    },
  });
  const address = (changes: Record<string, string | null>) =>
    setQuery(
      (before) => {
        const next = new URLSearchParams(before);
        for (const [name, value] of Object.entries(changes))
          if (value) next.set(name, value);
          else next.delete(name);
        return next;
      },
      { replace: true },
    );
  const choose = (verb: Verb) => {
    start.reset();
    setDraft({ ...given, only: [], values: {}, more: "" });
    address({ verb });
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (request) start.mutate(request);
  };
  if (!form) return null;
  return (
    <Panel title={given.resume ? "Resume a run" : "Start a job"}>
      <form className="start-job" onSubmit={submit}>
        {given.resume ? (
          <p>
            <span className="mono">{given.resume}</span> goes on from its last checkpoint, by its
            own recipe.{" "}
            <button type="button" className="small" onClick={() => address({ resume: null })}>
              Start something else
            </button>
          </p>
        ) : (
          <>
            <fieldset className="choice">
              <legend className="off-screen">What to do</legend>
              {VERBS.map(({ verb, title, does }) => (
                <label
                  key={verb}
                  title={does}
                  className={verb === given.verb ? "chosen" : undefined}
                >
                  <input
                    type="radio"
                    name="verb"
                    className="off-screen"
                    checked={verb === given.verb}
                    onChange={() => choose(verb)}
                  />
                  {title}
                </label>
              ))}
            </fieldset>
            <p className="muted">{form.does}</p>
            <TargetFields
              draft={given}
              recipes={recipes}
              onRun={(run) => {
                setDraft({ ...given, only: [] });
                address({ run });
              }}
              onChange={(changes) => setDraft({ ...given, ...changes })}
            />
            <OptionFields
              form={form}
              draft={given}
              onChange={(changes) => setDraft({ ...given, ...changes })}
            />
          </>
        )}
        <div className="start-line">
          <button type="submit" className="primary" disabled={!request || start.isPending}>
            {given.resume ? "Resume" : form.title}
          </button>
          <span className="muted" role="status">
            {problem ??
              (free ? "It would start at once." : "It would wait for the jobs before it.")}
          </span>
        </div>
        {start.error && <Failed error={start.error} />}
      </form>
    </Panel>
  );
}
