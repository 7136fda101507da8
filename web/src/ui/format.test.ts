// @vitest-environment node
import { expect, test } from "vitest";
import {
  bytes,
  count,
  date,
  fixed,
  fixedShare,
  interval,
  NONE,
  number,
  rounded,
  seconds,
  share,
  short,
} from "./format";

test("numbers keep three significant digits and their minus sign", () => {
  expect(number(0.83049)).toBe("0.830");
  expect(number(-12.345)).toBe("−12.3");
  expect(number(32)).toBe("32.0");
  expect(number(1234.5)).toBe("1,235");
  expect(number(0)).toBe("0");
});

test("very large and very small numbers take a power of ten", () => {
  expect(number(12_300_000)).toBe("1.23e7");
  expect(number(0.000012)).toBe("1.2e-5".replace("-", "−"));
});

test("rounded numbers end in no zero that says nothing", () => {
  expect(rounded(0.5)).toBe("0.5");
  expect(rounded(100)).toBe("100");
  expect(rounded(0.03049)).toBe("0.0305");
});

test("what was not measured is a dash", () => {
  for (const said of [number, rounded, share, count, short, seconds, bytes, fixed])
    for (const nothing of [null, undefined, NaN, Infinity]) expect(said(nothing)).toBe(NONE);
  expect(date(null)).toBe(NONE);
});

test("shares are percent with two or three digits that count", () => {
  expect(share(0.0031)).toBe("0.31 %");
  expect(share(0.446)).toBe("44.6 %");
  expect(share(0.00021701)).toBe("0.022 %");
  expect(share(1)).toBe("100 %");
  expect(share(0)).toBe("0 %");
  expect(share(0.0000021)).toBe("0.00021 %");
});

test("shares in columns keep their decimals", () => {
  expect([0.4464, 0.00022, 0].map((x) => fixedShare(x))).toEqual(["44.64 %", "0.02 %", "0.00 %"]);
});

test("counts set thousands apart, short ones take a letter", () => {
  expect(count(131072)).toBe("131,072");
  expect(short(299_776)).toBe("300 k");
  expect(short(12_300_000)).toBe("12.3 M");
  expect(short(9_999)).toBe("9,999");
});

test("durations name two units at most", () => {
  expect(seconds(0.42)).toBe("420 ms");
  expect(seconds(4)).toBe("4.0 s");
  expect(seconds(770)).toBe("12 min 50 s");
  expect(seconds(7500)).toBe("2 h 5 min");
  expect(seconds(3600)).toBe("1 h");
  expect(seconds(273_600)).toBe("3 d 4 h");
});

test("sizes take the unit that fits", () => {
  expect(bytes(640)).toBe("640 B");
  expect(bytes(12_500_000)).toBe("12.5 MB");
});

test("dates that cannot be read are shown as they are", () => {
  expect(date("yesterday")).toBe("yesterday");
  expect(date("2026-03-05T14:07:00Z")).toMatch(/^2026-03-0[456] \d\d:\d\d$/);
});

test("an interval needs both ends", () => {
  expect(interval({ value: 0.5, low: 0.412, high: 0.588 })).toBe("0.412 – 0.588");
  expect(interval({ value: 0.5, low: 0.412, high: null })).toBe("");
  expect(interval(null)).toBe("");
});
