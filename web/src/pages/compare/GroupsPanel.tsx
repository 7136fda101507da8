import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { client, data, type Schemas } from "../../api/client";
import { count } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { Empty, Failed, Loading } from "../../ui/states";
import { VirtualList } from "../../ui/VirtualList";
import { GroupDetail } from "./GroupDetail";
import { GroupRow } from "./GroupRow";

type Group = Schemas["Group"];
type Kind = "split" | "carried over" | "lost";

interface Props {
  a: string;
  b: string;
  comparison: Schemas["Comparison"];
}

const KINDS: { value: Kind | null; name: string; means: string }[] = [
  { value: null, name: "All", means: "Every latent of the narrow dictionary." },
  { value: "split", name: "Split", means: "Two children or more in the wide dictionary." },
  { value: "carried over", name: "Carried over", means: "One child in the wide dictionary." },
  { value: "lost", name: "Lost", means: "No latent of the wide dictionary is near enough." },
];

/** The latents of the narrow dictionary and what became of each, as a list with a detail beside it. */
export function GroupsPanel({ a, b, comparison }: Props) {
  const [kind, setKind] = useState<Kind | null>("split");
  const [chosen, setOpen] = useState<Group | null>(null);
  const fetch = (offset: number, limit: number, signal?: AbortSignal) =>
    data(
      client.GET("/api/compare", {
        params: { query: { a, b, ...(kind && { kind }), offset, limit } },
        ...(signal && { signal }),
      }),
    );
  const first = useQuery({
    queryKey: ["compare", a, b, kind, "total"],
    queryFn: ({ signal }) => fetch(0, 1, signal),
  });
  const open = chosen ?? first.data?.groups[0] ?? null;
  return (
    <Panel
      title="Latents of the narrow dictionary"
      info="A latent of the wide dictionary is a child of the narrow latent that it is nearest to, where their cosine reaches the threshold. Groups with most children come first."
      actions={
        <div className="kind-choice" role="group" aria-label="Which latents">
          {KINDS.map(({ value, name, means }) => (
            <button
              key={name}
              type="button"
              title={means}
              aria-pressed={value === kind}
              onClick={() => {
                setKind(value);
                setOpen(null);
              }}
            >
              {name}
            </button>
          ))}
        </div>
      }
    >
      {first.error ? (
        <Failed error={first.error} retry={() => void first.refetch()} />
      ) : !first.data ? (
        <Loading what="latents" />
      ) : first.data.total === 0 ? (
        <Empty>No latent is {kind ?? "here"}.</Empty>
      ) : (
        <div className="groups">
          <div>
            <p className="muted groups-count" role="status">
              {count(first.data.total)} latents
            </p>
            <VirtualList<Group>
              key={kind ?? "all"}
              label="Latents of the narrow dictionary"
              total={first.data.total}
              rowHeight={58}
              height="34rem"
              queryKey={["compare", a, b, kind, "groups"]}
              load={async (offset, limit) => (await fetch(offset, limit)).groups}
              onActivate={setOpen}
              renderRow={(group) => (
                <GroupRow
                  group={group}
                  narrow={comparison.narrow.id}
                  chosen={open?.latent === group.latent}
                  onOpen={() => setOpen(group)}
                />
              )}
            />
          </div>
          <GroupDetail group={open} narrow={comparison.narrow.id} wide={comparison.wide.id} />
        </div>
      )}
    </Panel>
  );
}
