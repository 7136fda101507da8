/** Numbers as people read them: aligned, with units, and a dash where there is none. */
import type { Schemas } from "../api/client";

type Maybe = number | null | undefined;

/** Stands where a figure was not measured. */
export const NONE = "–";

const known = (x: Maybe): x is number => typeof x === "number" && Number.isFinite(x);
const minus = (text: string) => text.replace("-", "−");

/** To `digits` significant digits; very large and very small ones with a power of ten. */
export function number(x: Maybe, digits = 3): string {
  if (!known(x)) return NONE;
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e6 || size < 1e-4) {
    const [mantissa = "", exponent = "0"] = x.toExponential(Math.max(0, digits - 1)).split("e");
    return minus(`${mantissa.replace(/\.?0+$/, "")}e${Number(exponent)}`);
  }
  const decimals = Math.min(8, Math.max(0, digits - 1 - Math.floor(Math.log10(size))));
  return minus(
    new Intl.NumberFormat("en", {
      maximumFractionDigits: decimals,
      minimumFractionDigits: decimals,
    }).format(x),
  );
}

/** The same without zeros at the end, for axes and edges. */
export function rounded(x: Maybe, digits = 3): string {
  const text = number(x, digits);
  return text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text;
}

/** With a fixed number of decimals, for columns. */
export function fixed(x: Maybe, decimals = 3): string {
  return known(x) ? minus(x.toFixed(decimals)) : NONE;
}

/** A fraction in percent: 0.0031 is `0.31 %`. */
export function share(x: Maybe): string {
  if (!known(x)) return NONE;
  const percent = x * 100;
  if (percent === 0) return "0 %";
  const size = Math.abs(percent);
  if (size < 0.001) return `${number(percent, 2)} %`;
  const decimals = size >= 10 ? 1 : size >= 0.1 ? 2 : 3;
  return `${minus(String(Number(percent.toFixed(decimals))))} %`;
}

/** A fraction in percent with a fixed number of decimals, for columns. */
export function fixedShare(x: Maybe, decimals = 2): string {
  return known(x) ? `${fixed(x * 100, decimals)} %` : NONE;
}

/** A whole number with thousands set apart. */
export function count(n: Maybe): string {
  return known(n) ? minus(new Intl.NumberFormat("en").format(Math.round(n))) : NONE;
}

/** A large count in short: 12,300,000 is `12.3 M`. */
export function short(n: Maybe): string {
  if (!known(n)) return NONE;
  for (const [size, name] of [
    [1e12, "T"],
    [1e9, "B"],
    [1e6, "M"],
    [1e4, "k"],
  ] as const) {
    if (Math.abs(n) < size) continue;
    const scaled = n / (name === "k" ? 1e3 : size);
    return minus(`${scaled.toFixed(scaled >= 100 ? 0 : 1).replace(/\.0$/, "")} ${name}`);
  }
  return count(n);
}

/** A duration: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function seconds(s: Maybe): string {
  if (!known(s)) return NONE;
  if (s < 1) return s < 0.001 ? "0 s" : `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  const units = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ] as const;
  const first = units.findIndex(([size]) => s >= size);
  const [size, name] = units[first] ?? [1, "s"];
  const [smaller, smallerName] = units[first + 1] ?? [1, ""];
  const whole = Math.floor(s / size);
  const rest = Math.floor((s - whole * size) / smaller);
  return rest > 0 && smallerName ? `${whole} ${name} ${rest} ${smallerName}` : `${whole} ${name}`;
}

/** A size in memory or on disk: `640 B`, `12.5 MB`. */
export function bytes(n: Maybe): string {
  if (!known(n)) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = n;
  let at = 0;
  while (Math.abs(value) >= 1000 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

/** A moment in the reader's own time zone: `2026-03-05 14:07`. */
export function date(iso: string | null | undefined): string {
  if (!iso) return NONE;
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  const two = (x: number) => String(x).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** The 95 % interval of an estimate, `0.71 – 0.78`; empty where there is none. */
export function interval(e: Schemas["Estimate"] | null | undefined, digits = 3): string {
  return e && known(e.low) && known(e.high)
    ? `${number(e.low, digits)} – ${number(e.high, digits)}`
    : "";
}
