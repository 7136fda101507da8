import { useState } from "react";
import { number } from "../../ui/format";
import { Failed } from "../../ui/states";
import type { Arrangement, Edit } from "./edits";
import { TestPart } from "./TestPart";
import { type At, useGroups } from "./useGraph";
import type { Shown } from "./useShown";

interface Props {
  at: At;
  shown: Shown;
  arrangement: Arrangement;
  barred: string | null;
  onEdit: (edit: Edit) => void;
  onSelect: (ids: readonly string[]) => void;
}

type By = "decoder" | "label" | "activation";
const BY: Record<By, string> = {
  decoder: "what they write (decoder rows)",
  label: "their labels",
  activation: "when they fire",
};

/** Nodes that the server changes at once. */
const MOST_TRIED = 64;

/** Groups of nodes that do one thing: made by hand, or proposed by a measure. */
export function GroupsTab({ at, shown, arrangement, barred, onEdit, onSelect }: Props) {
  const { nodes, byId } = shown;
  const [by, setBy] = useState<By>("decoder");
  const [least, setLeast] = useState("0.7");
  const [testing, setTesting] = useState<string | null>(null);
  const groups = useGroups(at);
  const adds = (ids: readonly string[]) =>
    ids.reduce((sum, id) => sum + (nodes.attribution[byId.get(id) ?? -1] ?? 0), 0);
  const testable = (ids: readonly string[]) =>
    ids.length <= MOST_TRIED && ids.every((id) => nodes.kind[byId.get(id) ?? -1] === "feature");
  const limit = Number(least);
  const valid = least.trim() !== "" && limit >= -1 && limit <= 1;
  const found = groups.data;
  return (
    <div className="columns groups-tab">
      <section>
        <h3>Groups</h3>
        {arrangement.supernodes.length === 0 && (
          <p className="muted">
            None yet. Select nodes in the link graph (Shift and click, or Shift and drag a square)
            and press m, or let a measure propose some.
          </p>
        )}
        <ul className="group-list">
          {arrangement.supernodes.map(({ name, ids }, n) => (
            <li key={name}>
              <div className="group-line">
                <i className="group-ring" style={{ borderColor: `var(--series-${(n % 6) + 1})` }} />
                <input
                  aria-label={`Name of the group ${name}`}
                  defaultValue={name}
                  maxLength={200}
                  onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
                  onBlur={(event) => onEdit({ do: "rename", name, to: event.target.value })}
                />
                <span className="number">{number(adds(ids))}</span>
                <button type="button" className="small" onClick={() => onSelect(ids)}>
                  {ids.length} nodes
                </button>
                {testable(ids) && (
                  <button
                    type="button"
                    className="small"
                    aria-expanded={testing === name}
                    onClick={() => setTesting(testing === name ? null : name)}
                  >
                    Test
                  </button>
                )}
                <button
                  type="button"
                  className="small"
                  onClick={() => onEdit({ do: "ungroup", name })}
                >
                  Ungroup
                </button>
              </div>
              {testing === name && (
                <TestPart at={at} what={{ nodes: ids }} claim={adds(ids)} barred={barred} />
              )}
            </li>
          ))}
        </ul>
      </section>
      <section>
        <h3>Proposed</h3>
        <form
          className="score-form"
          onSubmit={(event) => {
            event.preventDefault();
            if (valid) groups.mutate({ by, share: arrangement.share, least: limit });
          }}
        >
          <label>
            Alike in
            <select value={by} onChange={(event) => setBy(event.target.value as By)}>
              {Object.entries(BY).map(([id, title]) => (
                <option key={id} value={id}>
                  {title}
                </option>
              ))}
            </select>
          </label>
          <label title="Mean similarity of what is put together, −1 to 1.">
            at least
            <input
              inputMode="decimal"
              size={4}
              value={least}
              disabled={by === "label"}
              onChange={(event) => setLeast(event.target.value)}
            />
          </label>
          <button type="submit" disabled={!valid || groups.isPending}>
            Find groups
          </button>
        </form>
        {groups.isError && <Failed error={groups.error} />}
        {found && (
          <>
            <p className="muted small-print">
              {found.meaning}
              {found.n_left_out > 0 && ` ${found.n_left_out} features have nothing to compare.`}
            </p>
            {found.groups.length === 0 ? (
              <p className="muted">No two features are so much alike.</p>
            ) : (
              <>
                <button
                  type="button"
                  onClick={() => onEdit({ do: "groups", groups: found.groups })}
                >
                  Take all {found.groups.length}
                </button>
                <ul className="group-list">
                  {found.groups.map((group) => (
                    <li key={group.name} className="group-line">
                      <bdi>{group.name}</bdi>
                      <span className="number">{number(group.attribution)}</span>
                      <span className="muted number">{number(group.similarity, 2)} alike</span>
                      <button
                        type="button"
                        className="small"
                        onClick={() => onEdit({ do: "group", name: group.name, ids: group.ids })}
                      >
                        Take
                      </button>
                    </li>
                  ))}
                </ul>
              </>
            )}
          </>
        )}
      </section>
    </div>
  );
}
