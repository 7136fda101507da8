/** Text of a token as it can be seen: nothing invisible, nothing that turns the line around. */

/** Characters that reorder the text around them; they are spelt out. */
const BIDI = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const CONTROL = /(?![\t\n\r])\p{Cc}/gu;
/** Not the joiners U+200C and U+200D: emoji and several scripts need them. */
const INVISIBLE = /[\u00ad\u200b\u2028\u2029\u2060\ufeff]/g;

const spelt = (c: string) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;

interface Options {
  /** Spaces, tabs and newlines as signs. */
  showWhitespace: boolean;
  /** Newlines break the line. */
  breakLines: boolean;
}

export function visible(text: string, { showWhitespace, breakLines }: Options): string {
  const safe = text
    .replace(BIDI, spelt)
    .replace(CONTROL, (c) => (c < " " ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : spelt(c)))
    .replace(/\r\n?/g, showWhitespace ? "␍\n" : "\n");
  if (!showWhitespace) return breakLines ? safe : safe.replace(/\n/g, " ");
  return safe
    .replace(INVISIBLE, spelt)
    .replace(/ /g, "·")
    .replace(/\u00a0/g, "⍽")
    .replace(/\t/g, breakLines ? "⇥\t" : "⇥")
    .replace(/\n/g, breakLines ? "↵\n" : "↵");
}

/** Whether a token is bytes that make no whole character. */
export const isPartial = (text: string) => /^(<0x[0-9A-Fa-f]{2}>)+$/.test(text);

/** Whether nothing would be seen of it without signs. */
export const isBlank = (text: string) => text.trim() === "";
