import { useKeys } from "../../ui/useKeys";

/** j and k go from result to result. */
export function useResultKeys() {
  useKeys({
    j: { does: "Next result", run: () => move(1) },
    k: { does: "Previous result", run: () => move(-1) },
  });
}

function move(by: number) {
  const links = [...document.querySelectorAll<HTMLElement>(".results .feature-link")];
  const at = links.indexOf(document.activeElement as HTMLElement);
  const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by;
  links[Math.min(links.length - 1, Math.max(0, next))]?.focus();
}
