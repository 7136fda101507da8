import { useQuery } from "@tanstack/react-query";
import { client, data, type Schemas } from "../../api/client";

/** What the process with the model does while a person waits for it. */
export function WaitingForModel() {
  const state = useQuery({
    queryKey: ["live"],
    queryFn: ({ signal }) => data(client.GET("/api/live", { signal })),
    refetchInterval: 1000,
    staleTime: 0,
  });
  return (
    <p className="state" role="status">
      {state.data ? say(state.data) : "Reading the text …"}
    </p>
  );
}

function say({ state, model, message, waiting }: Schemas["WorkerState"]): string {
  if (state === "starting" || state === "loading")
    return message ?? `Loading ${model ?? "the model"} …`;
  if (state === "busy" && waiting > 1) return `Waiting behind ${waiting - 1} other requests …`;
  return "Reading the text …";
}
