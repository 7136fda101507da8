import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useState, useSyncExternalStore } from "react";
import { client, data, type Schemas } from "../../api/client";
import { type Draft, type Note, NoteDraft } from "./noteDraft";
import { rememberNote } from "./useFeature";

export interface NoteState extends Draft {
  /** False where notes cannot be kept: the server was started to be read only. */
  possible: boolean;
  change: NoteDraft["change"];
  keep: NoteDraft["keep"];
}

/** The note of the feature that is shown; kept also when the page or the feature is left. */
export function useNote(page: Schemas["FeaturePage"]): NoteState {
  const queries = useQueryClient();
  const id = page.dictionary.id;
  const { latent } = page;
  const key = `${id} ${latent}`;
  const make = useCallback(
    () =>
      new NoteDraft(page.note, async (note: Note) => {
        const kept = await data<Note>(
          client.PUT("/api/dictionaries/{dictionary}/features/{latent}/note", {
            params: { path: { dictionary: id, latent } },
            body: note,
            // It arrives even if the page is closed meanwhile; browsers take up to 64 kB so.
            keepalive: note.text.length < 15_000,
          }),
        );
        rememberNote(queries, id, latent, kept);
      }),
    [queries, id, latent, page.note],
  );
  const [held, setHeld] = useState(() => ({ key, draft: make() }));
  let draft = held.draft;
  if (held.key !== key) {
    draft = make();
    setHeld({ key, draft });
  }
  useEffect(() => {
    const leave = () => void draft.keep();
    window.addEventListener("pagehide", leave);
    return () => {
      window.removeEventListener("pagehide", leave);
      leave();
    };
  }, [draft]);
  const state = useSyncExternalStore(draft.subscribe, draft.current);
  return { ...state, possible: page.note !== null, change: draft.change, keep: draft.keep };
}
