import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useLocation } from "wouter";
import { client, data, type Schemas } from "../../api/client";
import { Failed } from "../../ui/states";
import { WorkerNote } from "../feature/WorkerNote";

/** A prompt to trace; afterwards its graph opens. */
export function TraceBox({ first }: { first: boolean }) {
  const [prompt, setPrompt] = useState("");
  const [target, setTarget] = useState("");
  const [threshold, setThreshold] = useState("");
  const [dictionaries, setDictionaries] = useState("");
  const [only, setOnly] = useState("");
  const [, navigate] = useLocation();
  const queries = useQueryClient();
  const home = useQuery({
    queryKey: ["home"],
    queryFn: () => data<Schemas["Home"]>(client.GET("/api/home")),
  });
  const trace = useMutation({
    mutationFn: (body: Schemas["TraceRequest"]) =>
      data<Schemas["TraceAnswer"]>(client.POST("/api/graphs/trace", { body })),
    onSuccess: ({ run, name }) => {
      void queries.invalidateQueries({ queryKey: ["graphs"] });
      navigate(`/graphs/${encodeURIComponent(run)}/${encodeURIComponent(name)}`);
    },
  });
  const runs = (home.data?.runs ?? []).filter(
    ({ n_dictionaries: n, job }) => n > 0 || job === "trace",
  );
  const least = Number(threshold);
  const wrong =
    threshold.trim() !== "" && !(least >= 0 && least <= 1)
      ? "A threshold is a share of the target, from 0 to 1."
      : null;
  const good = prompt.trim() !== "" && wrong === null && !trace.isPending;
  const readOnly = home.data?.read_only === true;
  return (
    <form
      className="panel trace-box"
      aria-label="Trace a prompt"
      onSubmit={(event) => {
        event.preventDefault();
        if (!good) return;
        trace.mutate({
          prompt,
          target: target.trim() === "" ? null : target.trim(),
          threshold: threshold.trim() === "" ? null : least,
          dictionaries: dictionaries === "" ? null : dictionaries,
          only: only.split(/[\s,]+/).filter(Boolean),
        });
      }}
    >
      <h2>{first ? "Trace your first prompt" : "Trace a prompt"}</h2>
      <textarea
        aria-label="Prompt"
        placeholder="When Mary and John went to the store, John gave a drink to"
        rows={2}
        maxLength={8192}
        value={prompt}
        onChange={(event) => setPrompt(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
          event.preventDefault();
          event.currentTarget.form?.requestSubmit();
        }}
      />
      <div className="trace-options">
        <label title={TARGETS}>
          Target
          <input
            value={target}
            maxLength={500}
            placeholder="the model’s own prediction"
            onChange={(event) => setTarget(event.target.value)}
          />
        </label>
        <label title="Features that add a smaller share of the target are not traced further; 0.01 by itself.">
          Threshold
          <input
            inputMode="decimal"
            size={6}
            value={threshold}
            placeholder="0.01"
            onChange={(event) => setThreshold(event.target.value)}
          />
        </label>
        <label>
          Dictionaries
          <select value={dictionaries} onChange={(event) => setDictionaries(event.target.value)}>
            <option value="">garden’s own, which come with lmscope</option>
            {runs.map(({ id, name }) => (
              <option key={id} value={id}>
                {name || id}
                {name && name !== id ? ` (${id.split("/").at(-1)?.slice(0, 15)})` : ""}
              </option>
            ))}
          </select>
        </label>
        <label title="Names or patterns of dictionaries, where a run has several for one output.">
          Only
          <input
            size={14}
            value={only}
            maxLength={300}
            placeholder="mlp_norm-*"
            onChange={(event) => setOnly(event.target.value)}
          />
        </label>
        <button type="submit" className="primary" disabled={!good || readOnly}>
          Trace
        </button>
      </div>
      <p className="muted small-print">{TARGETS}</p>
      {readOnly && <p className="muted">The server is read-only: nothing is traced here.</p>}
      {wrong && (
        <p className="problem" role="alert">
          {wrong}
        </p>
      )}
      {trace.isPending && <WorkerNote />}
      {trace.isError && <Failed error={trace.error} />}
    </form>
  );
}

const TARGETS =
  'A target is a token (" Paris"), a difference (" Paris" - " London"), a feature (mlp_out@2/17@-1) or a score (score 3.5 8->2); without one, the model’s own prediction.';
