import { type RefObject, useEffect, useRef } from "react";

/** `/runs/a` and `/runs/b` are pages of one kind. */
const kindOf = (path: string) =>
  path
    .split("/")
    .map((part, i) => (i % 2 === 0 && part !== "" ? "*" : part))
    .join("/");

/**
 * Names the document after the page's heading, and moves the focus to it after going to another page,
 * so that screen readers say where they are. A page of another kind begins at its top.
 */
export function useHeading(main: RefObject<HTMLElement | null>, path: string) {
  const before = useRef(path);
  const wasBack = useRef(false);
  useEffect(() => {
    const back = () => (wasBack.current = true);
    window.addEventListener("popstate", back);
    return () => window.removeEventListener("popstate", back);
  }, []);
  useEffect(() => {
    if (!main.current) return;
    let waits = before.current !== path;
    if (waits && !wasBack.current && kindOf(before.current) !== kindOf(path)) window.scrollTo(0, 0);
    before.current = path;
    wasBack.current = false;
    const look = () => {
      const heading = main.current?.querySelector("h1");
      if (!heading) return;
      const title = heading.textContent.trim();
      document.title = title && title !== "lmscope" ? `${title} · lmscope` : "lmscope";
      if (!waits) return;
      waits = false;
      if (isTypingIn(main.current)) return;
      heading.tabIndex = -1;
      heading.focus({ preventScroll: true });
    };
    look();
    const observer = new MutationObserver(look);
    observer.observe(main.current, { childList: true, subtree: true, characterData: true });
    return () => observer.disconnect();
  }, [main, path]);
}

/** Somebody who types in the page already is not interrupted. */
function isTypingIn(main: HTMLElement | null): boolean {
  const focused = document.activeElement;
  return Boolean(main?.contains(focused) && focused?.matches("input, textarea, select"));
}
