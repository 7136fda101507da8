import { type RefObject, useLayoutEffect } from "react";

/** Where the peaks stand, as a share of a line's width. */
const PLACE = 0.45;

/**
 * Moves each line sideways so that the peaks of a list stand below each other, as in a concordance.
 * It looks where peaks are instead of counting letters, so that any script and direction works.
 */
export function useAlignedPeaks(
  list: RefObject<HTMLElement | null>,
  look: string,
  passages: readonly unknown[],
) {
  useLayoutEffect(() => {
    const whole = list.current;
    if (!whole) return;
    const align = () => {
      const lines = [...whole.querySelectorAll<HTMLElement>(".aligned")].flatMap((line) => {
        const text = line.querySelector<HTMLElement>(".tokens");
        const peak = line.querySelector<HTMLElement>(".token.peak");
        return text && peak ? [{ line, text, peak }] : [];
      });
      // First all is read, then all is written: the browser lays the page out once.
      const moves = lines.map(({ line, text, peak }) => {
        const from = text.getBoundingClientRect().left;
        const { left, width } = peak.getBoundingClientRect();
        return line.clientWidth * PLACE - (left - from) - width / 2;
      });
      lines.forEach(({ text }, i) => {
        text.style.transform = `translateX(${Math.round(moves[i] ?? 0)}px)`;
      });
    };
    align();
    if (typeof ResizeObserver === "undefined") return;
    const observer = new ResizeObserver(align);
    observer.observe(whole);
    return () => observer.disconnect();
  }, [list, look, passages]);
}
