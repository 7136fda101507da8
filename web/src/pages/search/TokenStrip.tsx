import { type KeyboardEvent, useRef, useState } from "react";
import type { Schemas } from "../../api/client";
import { activation } from "../../ui/colour";
import { number } from "../../ui/format";
import { isBlank, isPartial, visible } from "../../ui/glyphs";

interface Props {
  tokens: Schemas["ProbedToken"][];
  /** The latent whose activations shade the text. */
  shading: Schemas["FiringLatent"] | undefined;
  chosen: number | null;
  onChoose: (place: number | null) => void;
}

/** The text that was read, token by token; each can be chosen, arrow keys go from one to the next. */
export function TokenStrip({ tokens, shading, chosen, onChoose }: Props) {
  const [stop, setStop] = useState(0);
  const strip = useRef<HTMLDivElement>(null);
  const onKey = (event: KeyboardEvent) => {
    const last = tokens.length - 1;
    const to = { ArrowRight: stop + 1, ArrowLeft: stop - 1, Home: 0, End: last }[event.key];
    if (to !== undefined) {
      const next = Math.min(last, Math.max(0, to));
      setStop(next);
      strip.current?.querySelector<HTMLElement>(`[data-at="${next}"]`)?.focus();
    } else if (event.key === "Enter" || event.key === " ") choose(stop);
    else if (event.key === "Escape" && chosen !== null) onChoose(null);
    else return;
    event.preventDefault();
  };
  const choose = (place: number) => {
    setStop(place);
    onChoose(place === chosen ? null : place);
  };
  const full = shading ? (shading.record_max ?? shading.max) : 1;
  return (
    <div
      ref={strip}
      className="tokens lines token-strip"
      role="group"
      aria-label="Tokens of the text"
      dir="auto"
      onKeyDown={onKey}
    >
      {tokens.map((token, place) => {
        const value = shading?.values[place] ?? 0;
        const { background, ink } = activation(value, full);
        const names = ["token"];
        if (isPartial(token.text)) names.push("partial");
        if (!token.counts) names.push("left-out");
        const blank = isBlank(token.text);
        return (
          <span
            key={place}
            role="button"
            data-at={place}
            tabIndex={place === stop ? 0 : -1}
            aria-pressed={place === chosen}
            aria-label={`token ${place + 1}: ${blank ? visible(token.text, { showWhitespace: true, breakLines: false }) : token.text}${shading ? `, ${number(value)}` : ""}`}
            title={`id ${token.id}${shading ? `, activation ${number(value, 4)}` : ""}${token.counts ? "" : ", left out: special, the first one, or an outlier"}`}
            className={names.join(" ")}
            style={value === 0 ? undefined : { background, color: ink }}
            onClick={() => choose(place)}
          >
            {visible(token.text, { showWhitespace: blank, breakLines: true })}
          </span>
        );
      })}
    </div>
  );
}
