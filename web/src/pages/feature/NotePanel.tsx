import { type RefObject, useState } from "react";
import { Panel } from "../../ui/Panel";
import { Failed } from "../../ui/states";
import { LONGEST_NOTE, withTags } from "./noteDraft";
import type { NoteState } from "./useNote";

interface Props {
  note: NoteState;
  box: RefObject<HTMLTextAreaElement | null>;
}

const SAYS = { kept: "Saved", changed: "Not saved yet", keeping: "Saving …", failed: "Not saved" };

/** What a person writes down about the feature; kept by itself. */
export function NotePanel({ note, box }: Props) {
  const [typed, setTyped] = useState("");
  const { text, tags } = note.note;
  const add = () => {
    if (typed.trim() !== "") note.change({ tags: withTags(tags, typed) }, { atOnce: true });
    setTyped("");
  };
  return (
    <Panel
      title="Your note"
      info="Kept beside the runs by the content of the dictionary: it stays when the atlas is built anew. Saved by itself."
      actions={
        <span className={`keeping ${note.keeping.state}`} role="status">
          {note.touched ? SAYS[note.keeping.state] : ""}
        </span>
      }
    >
      {!note.possible && <p className="muted">This server is read only: notes cannot be kept.</p>}
      <div className="note">
        <textarea
          ref={box}
          aria-label="Note"
          rows={3}
          maxLength={LONGEST_NOTE}
          placeholder="What do you make of it? (n)"
          disabled={!note.possible}
          value={text}
          onChange={(event) => note.change({ text: event.target.value })}
          onBlur={() => void note.keep()}
          onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        />
        <div className="note-tags">
          {tags.map((tag) => (
            <span className="chip tag" key={tag}>
              <bdi>{tag}</bdi>
              <button
                type="button"
                aria-label={`Remove tag ${tag}`}
                disabled={!note.possible}
                onClick={() =>
                  note.change({ tags: tags.filter((one) => one !== tag) }, { atOnce: true })
                }
              >
                ×
              </button>
            </span>
          ))}
          <input
            aria-label="Add a tag"
            placeholder="Add a tag"
            size={10}
            maxLength={200}
            disabled={!note.possible}
            value={typed}
            onChange={(event) => setTyped(event.target.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter" && event.key !== ",") return;
              event.preventDefault();
              add();
            }}
            onBlur={add}
          />
        </div>
      </div>
      {note.keeping.state === "failed" && (
        <Failed error={note.keeping.error} retry={() => void note.keep()} />
      )}
    </Panel>
  );
}
