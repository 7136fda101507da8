import { useState } from "react";
import type { Shown } from "./useShown";

/** The place of the focused node, also when the slider has left it out since. */
export function useFocusedPlace(shown: Shown, id: string | null): number | null {
  const [seen, setSeen] = useState<{ id: string; place: number } | null>(null);
  const i = id === null ? undefined : shown.byId.get(id);
  const place = i === undefined ? null : (shown.nodes.place[i] ?? null);
  if (id !== null && place !== null && (seen?.id !== id || seen.place !== place))
    setSeen({ id, place });
  return place ?? (seen !== null && seen.id === id ? seen.place : null);
}
