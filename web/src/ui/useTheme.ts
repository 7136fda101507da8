import { useSyncExternalStore } from "react";

export type ThemeChoice = "system" | "light" | "dark";

const KEY = "lmscope-theme";
const dark = () => window.matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

function choice(): ThemeChoice {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
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

/** Puts the theme on the page before anything is drawn, and follows the system from then on. */
export function startTheme() {
  apply();
  dark().addEventListener("change", apply);
  window.addEventListener("storage", (event) => event.key === KEY && apply());
}

function choose(chosen: ThemeChoice) {
  if (chosen === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, chosen);
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
