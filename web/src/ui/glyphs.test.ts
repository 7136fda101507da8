// @vitest-environment node
import { expect, test } from "vitest";
import { isBlank, isPartial, visible } from "./glyphs";

const plain = { showWhitespace: false, breakLines: false };
const signs = { showWhitespace: true, breakLines: false };

test("spaces, tabs and newlines become signs only where asked", () => {
  expect(visible(" a\tb\n", plain)).toBe(" a\tb ");
  expect(visible(" a\tb\n", signs)).toBe("·a⇥b↵");
  expect(visible("a\r\nb", signs)).toBe("a␍↵b");
});

test("lines break where they are wanted", () => {
  expect(visible("a\nb", { showWhitespace: false, breakLines: true })).toBe("a\nb");
  expect(visible("a\nb", { showWhitespace: true, breakLines: true })).toBe("a↵\nb");
});

test("characters that turn the line around are spelt out", () => {
  expect(visible("a\u202eb", plain)).toBe("a⟨U+202E⟩b");
  expect(visible("\u2066x\u2069", plain)).toBe("⟨U+2066⟩x⟨U+2069⟩");
});

test("control characters can be seen", () => {
  expect(visible("\u0000\u001b", plain)).toBe("␀␛");
  expect(visible("\u0085", plain)).toBe("⟨U+0085⟩");
});

test("scripts and joined emoji stay as they are", () => {
  for (const text of ["中文", "שלום", "नमस्ते", "می‌خواهم", "👩‍👩‍👧"]) {
    expect(visible(text, plain)).toBe(text);
    expect(visible(text, signs)).toBe(text);
  }
});

test("bytes that make no character are told apart from text that looks alike", () => {
  expect(isPartial("<0xE4>")).toBe(true);
  expect(isPartial("<0xE4><0xB8>")).toBe(true);
  expect(isPartial("a<0xE4>")).toBe(false);
  expect(isBlank(" \n")).toBe(true);
});
