/** What the feature page works out from an answer; nothing here touches the screen. */
import type { Schemas } from "../../api/client";
import { number, share } from "../../ui/format";

type Page = Schemas["FeaturePage"];
type Passage = Schemas["Passage"];

export type PassageMode = "snippet" | "full" | "lines";

/** One tab of passages. */
export interface Section {
  key: string;
  title: string;
  info: string;
  kind: "top" | "interval" | "missed";
  passages: Passage[];
}

/** Where a feature's page is, in the same atlas and the same frame. */
export function featureAddress(dictionary: string, latent: number, search: string): string {
  const kept = new URLSearchParams();
  const given = new URLSearchParams(search);
  for (const name of ["atlas", "embed"]) {
    const value = given.get(name);
    if (value) kept.set(name, value);
  }
  const query = kept.toString();
  const path = `/dictionaries/${encodeURIComponent(dictionary)}/features/${latent}`;
  return query ? `${path}?${query}` : path;
}

/** A share in a column: two decimals of a percent, so that points stand below each other. */
export function percent(x: number): string {
  return x > 0 && x < 0.0001 ? "< 0.01 %" : `${(100 * x).toFixed(2)} %`;
}

/** Where a passage is; the same stretch can stand in several groups. */
export const placeOf = (passage: Passage) => `${passage.context}:${passage.position}`;

/** The groups as tabs, strongest first, and at last what speaks against the label. */
export function sections(page: Page): Section[] {
  const drawn = page.groups.filter((group) => group.passages.length > 0);
  const found = drawn.map((group, i): Section => {
    const range = `${number(group.low)} to ${number(group.high)}`;
    const percent = share(group.share);
    return group.name === "top"
      ? {
          key: "top",
          title: "Top",
          kind: "top",
          info: `The ${group.passages.length} largest peaks, ${range}; ${percent} of the stretches in which it fires.`,
          passages: group.passages,
        }
      : {
          key: `interval-${i}`,
          title: range,
          kind: "interval",
          info: `Drawn evenly; ${percent} of the stretches in which it fires.`,
          passages: group.passages,
        };
  });
  if (page.missed.length > 0)
    found.push({
      key: "missed",
      title: "Against the label",
      kind: "missed",
      info: "It fires here although the label says that it does not. Strongest first.",
      passages: page.missed,
    });
  return found;
}

export interface DocumentFacts {
  title: string;
  details: string[];
}

/** Title and the other facts that a corpus knows of a document. */
export function documentFacts(passage: Passage): DocumentFacts | null {
  const document = passage.document;
  if (!document) return null;
  const text = (key: string) => {
    const value = document[key];
    return typeof value === "string" && value !== "" ? value : null;
  };
  const title =
    text("title") ?? text("name") ?? text("id") ?? `document ${String(document.number)}`;
  const details = ["source", "licence", "license", "language", "url"]
    .map(text)
    .filter((value): value is string => value !== null && value !== title);
  return { title, details };
}

export interface TokenLine {
  id: number;
  text: string;
  peaks: number;
  fired: number | null;
  seen: number | null;
}

/** Counts of peaks and of firings by token, joined; those that peak most often first. */
export function tokenLines(page: Pick<Page, "peak_tokens" | "tokens">): TokenLine[] {
  const lines = new Map<number, TokenLine>();
  for (const one of page.peak_tokens)
    lines.set(one.id, { id: one.id, text: one.text, peaks: one.value, fired: null, seen: null });
  for (const one of page.tokens) {
    const line = lines.get(one.id) ?? {
      id: one.id,
      text: one.text,
      peaks: 0,
      fired: null,
      seen: null,
    };
    lines.set(one.id, { ...line, fired: one.n_fired, seen: one.n_seen });
  }
  return [...lines.values()].sort((a, b) => b.peaks - a.peaks || (b.fired ?? 0) - (a.fired ?? 0));
}

export interface Verdict {
  tone: "known" | "unknown" | "unasked";
  text: string;
}

/** Why the label is shown, or is not, in one sentence. */
export function verdict(page: Pick<Page, "sources" | "dead">): Verdict {
  const source = page.sources[0];
  if (!source)
    return {
      tone: "unasked",
      text: page.dead
        ? "A latent that never fires has nothing to be labelled by."
        : "No explainer was asked about this feature.",
    };
  const detection = source.scores.find((one) => one.scorer === "detection")?.estimate;
  const threshold = source.threshold.toFixed(2);
  if (!detection || detection.low === null || detection.low === undefined)
    return source.known
      ? { tone: "known", text: "The label is shown; its detection score came without an interval." }
      : { tone: "unknown", text: "The explainer found no rule that tells where it fires." };
  const low = detection.low.toFixed(2);
  return source.known
    ? {
        tone: "known",
        text: `Shown because detection is at least ${low} with 95 % confidence; ${threshold} is asked for.`,
      }
    : {
        tone: "unknown",
        text: `Not shown as known because detection may be as low as ${low}; at least ${threshold} is asked for.`,
      };
}
