import { useState } from "react";
import { Popover } from "../../ui/Popover";
import { Failed } from "../../ui/states";
import type { Arrangement } from "./edits";
import { arrangementOf, type At, useViews } from "./useGraph";

interface Props {
  at: At;
  arrangement: Arrangement;
  readOnly: boolean;
  onLoad: (arrangement: Arrangement) => void;
}

/** Saved views: what is pinned and grouped, the slider, the focus, and where boxes stand. */
export function ViewsMenu({ at, arrangement, readOnly, onLoad }: Props) {
  const { list, save, remove } = useViews(at);
  const [name, setName] = useState("");
  const views = Object.entries(list.data?.views ?? {});
  const good = name.trim() !== "";
  return (
    <Popover button={`Views${views.length > 0 ? ` (${views.length})` : ""}`}>
      <span className="views-menu">
        {list.error && <Failed error={list.error} />}
        {views.length === 0 && (
          <span className="muted">
            No view is saved. A view keeps pins, groups, the slider, the focus and the circuit
            drawing.
          </span>
        )}
        {views.map(([view, kept]) => (
          <span key={view} className="view-line">
            <button type="button" onClick={() => onLoad(arrangementOf(kept))}>
              <bdi>{view}</bdi>
            </button>
            {!readOnly && (
              <button
                type="button"
                className="small"
                aria-label={`Delete the view ${view}`}
                onClick={() => remove.mutate(view)}
              >
                ×
              </button>
            )}
          </span>
        ))}
        {readOnly ? (
          <span className="muted">Nothing can be saved: the server is read-only.</span>
        ) : (
          <form
            className="view-line"
            onSubmit={(event) => {
              event.preventDefault();
              if (!good) return;
              save.mutate({ view: name.trim(), arrangement }, { onSuccess: () => setName("") });
            }}
          >
            <input
              aria-label="Name of the view"
              placeholder="Name of this view"
              maxLength={80}
              value={name}
              onChange={(event) => setName(event.target.value)}
            />
            <button type="submit" disabled={!good || save.isPending}>
              Save
            </button>
          </form>
        )}
        {save.error && <Failed error={save.error} />}
        {remove.error && <Failed error={remove.error} />}
        <span role="status" className="muted">
          {save.isSuccess && !save.isPending ? "Saved" : ""}
        </span>
      </span>
    </Popover>
  );
}
