import { type RefObject, useLayoutEffect, useRef } from "react";
import { createPortal } from "react-dom";
import type { Schemas } from "../api/client";
import { number } from "./format";
import { visible } from "./glyphs";

interface Props {
  id: string;
  token: Schemas["Token"];
  /** Which of the line's tokens it belongs to. */
  place: number;
  line: RefObject<HTMLElement | null>;
}

/** What is known of one token, beside it. */
export function TokenTip({ id, token, place, line }: Props) {
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const target = line.current?.querySelector(`[data-at="${place}"]`);
    if (!target || !box.current) return;
    const rect = target.getClientRects()[0] ?? target.getBoundingClientRect();
    const own = box.current.getBoundingClientRect();
    const above = rect.top - own.height - 6;
    const left = Math.min(rect.left, document.documentElement.clientWidth - own.width - 8);
    box.current.style.left = `${Math.max(8, left)}px`;
    box.current.style.top = `${above >= 4 ? above : rect.bottom + 6}px`;
  });
  const text = visible(token.text, { showWhitespace: true, breakLines: false });
  return createPortal(
    <div ref={box} id={id} role="tooltip" className="token-tip">
      <strong>
        <bdi>{text}</bdi>
      </strong>
      <span>{token.value === 0 ? "does not fire" : number(token.value, 4)}</span>
      <span className="muted">
        id {token.ids.join(", ")}
        {token.bytes !== "" && ` · bytes ${token.bytes.match(/../g)?.join(" ") ?? ""}`}
      </span>
    </div>,
    document.body,
  );
}
