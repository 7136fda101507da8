/** Colours for values. Orange and blue, and cividis, stay apart with any common colour blindness. */

export interface Shade {
  background: string;
  /** For text on it, with a contrast of at least 4.5 to 1. */
  ink: string;
}

/** Shades a token by its activation, as a share of `full`; orange, and blue below zero. */
export function activation(value: number, full: number): Shade {
  if (!(full > 0) || !Number.isFinite(value) || value === 0)
    return { background: "transparent", ink: "inherit" };
  const share = Math.min(1, Math.abs(value) / full);
  const alpha = 0.1 + 0.9 * share;
  return {
    background: `rgb(var(${value > 0 ? "--positive" : "--negative"}) / ${alpha.toFixed(3)})`,
    ink: alpha > 0.65 ? "var(--ink-strong)" : "var(--ink-weak)",
  };
}

/** Cividis (Nunez, Anderton and Renslow 2018), 18 of its colours. */
const CIVIDIS: readonly (readonly [number, number, number])[] = [
  [0, 32, 76],
  [0, 42, 102],
  [0, 52, 110],
  [39, 63, 108],
  [60, 74, 107],
  [76, 85, 107],
  [91, 95, 109],
  [104, 106, 112],
  [117, 117, 117],
  [131, 129, 120],
  [146, 140, 120],
  [161, 152, 118],
  [176, 165, 114],
  [192, 178, 109],
  [209, 191, 102],
  [225, 204, 92],
  [243, 219, 79],
  [255, 233, 69],
];

function luminance(rgb: readonly number[]): number {
  const [r = 0, g = 0, b = 0] = rgb.map((c) => {
    const s = c / 255;
    return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** A place between 0 and 1 on the scale for grids and maps; null where there is no value. */
export function sequential(place: number | null | undefined): Shade {
  if (place === null || place === undefined || !Number.isFinite(place))
    return { background: "var(--surface)", ink: "var(--muted)" };
  const at = Math.min(1, Math.max(0, place)) * (CIVIDIS.length - 1);
  const low = CIVIDIS[Math.floor(at)] ?? [0, 0, 0];
  const high = CIVIDIS[Math.ceil(at)] ?? low;
  const rgb = low.map((c, i) => Math.round(c + ((high[i] ?? c) - c) * (at % 1)));
  const ground = luminance(rgb);
  const white = 1.05 / (ground + 0.05);
  const black = (ground + 0.05) / 0.05;
  return { background: `rgb(${rgb.join(" ")})`, ink: white > black ? "#ffffff" : "#000000" };
}

/** The colour of the n-th line of a chart. */
export const series = (n: number) => `var(--series-${(n % 6) + 1})`;
