import { useEffect, useState } from "react";
import { copy } from "./copy";

/** Copies `text`; says so for two seconds. */
export function CopyButton({ text, name = "Copy" }: { text: string; name?: string }) {
  const [state, setState] = useState<"idle" | "copied" | "failed">("idle");
  useEffect(() => {
    if (state === "idle") return;
    const timer = setTimeout(() => setState("idle"), 2000);
    return () => clearTimeout(timer);
  }, [state]);
  const says = { idle: name, copied: "Copied", failed: "Not copied" }[state];
  return (
    <button
      type="button"
      className="small"
      onClick={() => void copy(text).then((done) => setState(done ? "copied" : "failed"))}
    >
      <span aria-live="polite">{says}</span>
    </button>
  );
}
