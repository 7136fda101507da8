import { type KeyboardEvent, memo, useId, useRef, useState } from "react";
import type { Schemas } from "../api/client";
import { activation } from "./colour";
import { number } from "./format";
import { isPartial, visible } from "./glyphs";
import { TokenTip } from "./TokenTip";
import "./TokenText.css";

interface Props {
  tokens: Schemas["Token"][];
  /** The activation that is shaded in full, e.g. the latent's largest one. */
  full: number;
  /** Place of the token that is underlined, and that a snippet is cut around. */
  peak?: number;
  /** A snippet around the peak, the whole text as it flows, or the whole text with its line breaks. */
  wrap?: "snippet" | "full" | "lines";
  showWhitespace?: boolean;
}

const BEFORE = 20;
const AFTER = 12;

/** Text shaded by activation; hovering, or arrow keys once it has the focus, show a token's value. */
export const TokenText = memo(function TokenText({
  tokens,
  full,
  peak,
  wrap = "full",
  showWhitespace = false,
}: Props) {
  const [at, setAt] = useState<number | null>(null);
  const line = useRef<HTMLSpanElement>(null);
  const tip = useId();
  const cut = wrap === "snippet" && peak !== undefined;
  const first = cut ? Math.max(0, peak - BEFORE) : 0;
  const end = cut ? Math.min(tokens.length, peak + AFTER + 1) : tokens.length;
  const options = { showWhitespace, breakLines: wrap === "lines" };
  const onKey = (event: KeyboardEvent) => {
    const from = at ?? peak ?? first;
    const to = { ArrowRight: from + 1, ArrowLeft: from - 1, Home: first, End: end - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      setAt(Math.min(end - 1, Math.max(first, to)));
    } else if (event.key === "Escape" && at !== null) {
      event.stopPropagation();
      setAt(null);
    }
  };
  const shown = at === null ? undefined : tokens[at];
  return (
    <span
      ref={line}
      className={`tokens ${wrap}`}
      dir="auto"
      role="group"
      tabIndex={0}
      aria-label={spoken(tokens, peak)}
      aria-describedby={shown ? tip : undefined}
      onKeyDown={onKey}
      onFocus={(event) => event.target.matches(":focus-visible") && setAt(peak ?? first)}
      onBlur={() => setAt(null)}
      onPointerLeave={() => setAt(null)}
      onPointerOver={(event) => {
        const place = (event.target as HTMLElement).dataset.at;
        setAt(place === undefined ? null : Number(place));
      }}
    >
      {first > 0 && <span className="cut">… </span>}
      {tokens.slice(first, end).map((token, i) => {
        const place = first + i;
        const { background, ink } = activation(token.value, full);
        const names = ["token"];
        if (place === peak) names.push("peak");
        if (place === at) names.push("at");
        if (isPartial(token.text)) names.push("partial");
        return (
          <span
            key={place}
            data-at={place}
            className={names.join(" ")}
            style={token.value === 0 ? undefined : { background, color: ink }}
          >
            {visible(token.text, options)}
          </span>
        );
      })}
      {end < tokens.length && <span className="cut"> …</span>}
      {shown && at !== null && <TokenTip id={tip} token={shown} place={at} line={line} />}
    </span>
  );
});

/** The passage in words: screen readers hear the text, and where the activation is largest. */
function spoken(tokens: Schemas["Token"][], peak: number | undefined): string {
  const text = tokens.map((token) => token.text).join("");
  const top = peak === undefined ? undefined : tokens[peak];
  return top ? `${text} (largest on “${top.text}”, ${number(top.value)})` : text;
}
