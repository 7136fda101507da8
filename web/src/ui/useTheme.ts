import { useSyncExternalStore } from "react";

export type ThemeChoice = "system" | "light" | "dark";

const KEY = "lmscope-theme";
const dark = () => window.matchMedia("(prefers-color-scheme: dark)");
let unkept: ThemeChoice | null = null;
const listeners = new Set<() => void>();

function choice(): ThemeChoice {
  const kept = recalled();
  return kept === "light" || kept === "dark" ? kept : "system";
}

/** Null also where the browser lets the page keep nothing; the choice then lasts as long as the page. */
function recalled(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return unkept;
  }
}

function theme(): "light" | "dark" {
  const chosen = choice();
  return chosen === "system" ? (dark().matches ? "dark" : "light") : chosen;
}

function apply() {
  document.documentElement.dataset.theme = theme();
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void) {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** Follows the system and other tabs from now on; `public/theme.js` set the theme before anything was drawn. */
export function startTheme() {
  apply();
  dark().addEventListener("change", apply);
  window.addEventListener("storage", (event) => event.key === KEY && apply());
}

function choose(chosen: ThemeChoice) {
  unkept = chosen;
  try {
    if (chosen === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, chosen);
  } catch {
    // Nothing can be kept; `unkept` holds it until the page is left.
  }
  apply();
}

/** `theme` is what is shown, `choice` what the person asked for. */
export function useTheme() {
  return {
    theme: useSyncExternalStore(subscribe, theme),
    choice: useSyncExternalStore(subscribe, choice),
    choose,
  };
}
