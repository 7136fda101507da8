import { type ThemeChoice, useTheme } from "../ui/useTheme";

const NEXT: Record<ThemeChoice, ThemeChoice> = { system: "light", light: "dark", dark: "system" };
const SAYS: Record<ThemeChoice, string> = {
  system: "as the system has it",
  light: "light",
  dark: "dark",
};
const SIGN: Record<ThemeChoice, string> = {
  system: "M8 1.8a6.2 6.2 0 1 0 0 12.4ZM8 1.8a6.2 6.2 0 0 1 0 12.4",
  light:
    "M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6ZM8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3 3l1.2 1.2M11.8 11.8 13 13M3 13l1.2-1.2M11.8 4.2 13 3",
  dark: "M13.6 9.7A6 6 0 0 1 6.3 2.4a6 6 0 1 0 7.3 7.3Z",
};

/** Steps through the system's theme, light and dark. */
export function ThemeButton() {
  const { choice, choose } = useTheme();
  const name = `Theme: ${SAYS[choice]}; change to ${SAYS[NEXT[choice]]}`;
  return (
    <button type="button" onClick={() => choose(NEXT[choice])} aria-label={name} title={name}>
      <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
        <path
          d={SIGN[choice]}
          fill={choice === "light" ? "none" : "currentColor"}
          stroke="currentColor"
          strokeWidth="1.4"
          strokeLinecap="round"
          fillOpacity={choice === "system" ? 0.35 : 1}
        />
      </svg>
    </button>
  );
}
