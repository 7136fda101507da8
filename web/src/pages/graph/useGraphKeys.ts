import { type Dispatch, useEffect } from "react";
import { useKeys } from "../../ui/useKeys";
import type { Edit } from "./edits";

interface Acts {
  edit: Dispatch<Edit>;
  /** To the node so many places further in the list. */
  step: (by: number) => void;
  /** Moves the threshold slider by a share of the influence. */
  slide: (by: number) => void;
  pin: () => void;
  makeGroup: () => void;
  otherDrawing: () => void;
  find: () => void;
  leave: () => void;
}

/** What can be done without a pointer; the help lists it. */
export function useGraphKeys({ edit, step, slide, pin, makeGroup, ...acts }: Acts) {
  useKeys({
    j: { does: "Next node, by what it adds", run: () => step(1) },
    k: { does: "Previous node", run: () => step(-1) },
    p: { does: "Pin or unpin the focused or selected nodes", run: pin },
    m: { does: "Make a group of the selected nodes", run: makeGroup },
    "[": { does: "Show fewer nodes", run: () => slide(-0.05) },
    "]": { does: "Show more nodes", run: () => slide(0.05) },
    u: { does: "Undo", run: () => edit({ do: "undo" }) },
    U: { does: "Redo", run: () => edit({ do: "redo" }) },
    c: { does: "Circuit drawing, or all links", run: acts.otherDrawing },
    "/": { does: "Find a node", run: acts.find },
    Escape: acts.leave,
  });
  useUndoKeys(edit);
}

/** Ctrl or Command with Z as everywhere, but not where somebody types. */
function useUndoKeys(edit: Dispatch<Edit>) {
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
      if (event.target instanceof HTMLElement && event.target.matches("input, textarea, select"))
        return;
      event.preventDefault();
      edit({ do: event.shiftKey ? "redo" : "undo" });
    };
    window.addEventListener("keydown", key);
    return () => window.removeEventListener("keydown", key);
  }, [edit]);
}
