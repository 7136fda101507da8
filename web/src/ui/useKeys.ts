import { useEffect, useRef } from "react";
import { hold, type Keys } from "./keyboard";

/**
 * Keys that hold while the component is shown, ignored while somebody types: `{ j: next, "g h": home }`.
 * A value `{ does, run }` is listed in the help (`?`).
 */
export function useKeys(keys: Keys) {
  const entry = useRef({ keys });
  useEffect(() => {
    entry.current.keys = keys;
  });
  useEffect(() => hold(entry.current), []);
}
