import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { client, data, type Schemas } from "../../api/client";
import { seconds } from "../../ui/format";

const SAYS: Record<Schemas["WorkerState"]["state"], string> = {
  off: "Starting the model’s process",
  starting: "Starting the model’s process",
  loading: "Loading the model",
  ready: "Asking the model",
  busy: "The model is at work",
  failed: "The model’s process stopped; it starts anew",
};

/** What the process with the model is at, while somebody waits for its answer. */
export function WorkerNote() {
  const [began] = useState(() => Date.now());
  const [now, setNow] = useState(began);
  const state = useQuery({
    queryKey: ["live"],
    queryFn: () => data<Schemas["WorkerState"]>(client.GET("/api/live")),
    refetchInterval: 700,
    staleTime: 0,
    retry: false,
  });
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, []);
  const worker = state.data;
  const waited = (now - began) / 1000;
  return (
    <p className="worker" role="status">
      <span className="pulse" aria-hidden="true" />
      {worker ? SAYS[worker.state] : "Asking the model"}
      {worker?.message && worker.state !== "ready" ? `: ${worker.message}` : ""}
      {worker && worker.waiting > 1 ? `, ${worker.waiting - 1} in front` : ""} …{" "}
      <span className="muted" aria-hidden="true">
        {waited >= 1 ? seconds(Math.floor(waited)) : ""}
      </span>
    </p>
  );
}
