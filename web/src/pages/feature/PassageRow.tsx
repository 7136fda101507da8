import { useState } from "react";
import type { Schemas } from "../../api/client";
import { number } from "../../ui/format";
import { TokenText } from "../../ui/TokenText";
import { documentFacts, type PassageMode } from "./logic";

interface Props {
  passage: Schemas["Passage"];
  /** Whether the label says that it does not fire here. */
  against: boolean;
  full: number;
  mode: PassageMode;
  blanks: boolean;
}

/** One stretch of text, in one line or as a whole with where it comes from. */
export function PassageRow({ passage, against, full, mode, blanks }: Props) {
  const [open, setOpen] = useState(false);
  const line = mode === "snippet" && !open;
  const from = documentFacts(passage);
  return (
    <li className={line ? "passage" : "passage whole"}>
      {mode === "snippet" ? (
        <button
          type="button"
          className="passage-max"
          aria-expanded={open}
          title={open ? "Show in one line" : "Show the whole stretch"}
          onClick={() => setOpen(!open)}
        >
          {number(passage.max)}
        </button>
      ) : (
        <span className="passage-max">{number(passage.max)}</span>
      )}
      {/* A new element each way: where it was moved to as one line would stay with it otherwise. */}
      <div key={line ? "line" : "whole"} className={line ? "aligned" : "passage-text"}>
        <TokenText
          tokens={passage.tokens}
          full={full}
          peak={passage.peak}
          wrap={mode === "lines" ? "lines" : "full"}
          showWhitespace={blanks}
        />
      </div>
      <p className="passage-from">
        {against && (
          <span
            className="against"
            title="Against the label, which says that it does not fire here"
          >
            <span aria-hidden="true">≠</span>
            <span className={line ? "off-screen" : undefined}> against the label</span>{" "}
          </span>
        )}
        {passage.held_out && (
          <span className="held-out" title="Held out: no explainer read this context">
            {line ? (
              <>
                <span aria-hidden="true">◆</span>
                <span className="off-screen">held out</span>
              </>
            ) : (
              "◆ held out"
            )}
          </span>
        )}{" "}
        {from && (
          <bdi className="document" title={from.title}>
            {from.title}
          </bdi>
        )}
        {!line && (
          <span className="muted">
            {from?.details.map((one) => (
              <bdi key={one}> · {one}</bdi>
            ))}{" "}
            · context {passage.context}, from token {passage.position}
          </span>
        )}
      </p>
    </li>
  );
}
