/** Claims of a graph and the tests of them. */
import type { Schemas } from "../../api/client";
import { NONE, number, rounded } from "../../ui/format";

export type ClaimTest = Schemas["ClaimTest"];
export type ClaimRequest = Schemas["ClaimRequest"];
export type How = ClaimTest["how"];

export interface TestForm {
  how: How;
  amount: string;
}

export const FIRST_TEST: TestForm = { how: "ablate", amount: "2" };
export const HOW: Record<How, { title: string; meaning: string }> = {
  ablate: { title: "Ablate", meaning: "It is set to 0." },
  scale: { title: "Scale", meaning: "Its activation is multiplied." },
  set: { title: "Set", meaning: "Its activation becomes this, in its dictionary’s units." },
};

/** What keeps a test from being run, in a sentence; null when nothing does. */
export function mistake({ how, amount }: TestForm): string | null {
  if (how === "ablate") return null;
  const value = Number(amount);
  if (amount.trim() === "" || !Number.isFinite(value)) return "An amount is a number, such as 2.5.";
  if (Math.abs(value) > 1e6) return "An amount lies between −1,000,000 and 1,000,000.";
  return how === "scale" && value === 1 ? "Multiplied by 1 nothing changes." : null;
}

export function claimRequest(
  form: TestForm,
  what: { nodes: readonly string[] } | { edge: readonly [string, string] },
): ClaimRequest {
  const value = form.how === "ablate" ? null : Number(form.amount);
  return "edge" in what
    ? { nodes: [], edge: [what.edge[0], what.edge[1]], how: form.how, value }
    : { nodes: [...what.nodes], edge: null, how: form.how, value };
}

/** The tests of exactly these nodes, or of this link, newest first. */
export function testsOf(
  tests: readonly ClaimTest[],
  what: { nodes: readonly string[] } | { edge: readonly [string, string] },
): ClaimTest[] {
  if ("edge" in what)
    return tests.filter(({ edge }) => edge && edge[0] === what.edge[0] && edge[1] === what.edge[1]);
  const wanted = [...what.nodes].sort().join("\n");
  return tests.filter(({ edge, nodes }) => !edge && [...nodes].sort().join("\n") === wanted);
}

/** How a claim stands, in a word and by its test. */
export function verdict(test: ClaimTest): { word: string; tone: "holds" | "partly" | "fails" } {
  if (test.share === null || test.share === undefined) return { word: "tested", tone: "partly" };
  if (test.share > 2) return { word: "stronger", tone: "partly" };
  if (test.share >= 0.5) return { word: "holds", tone: "holds" };
  if (test.share > 0.1) return { word: "partly", tone: "partly" };
  return { word: test.share < -0.1 ? "opposite" : "not seen", tone: "fails" };
}

/** How single nodes stand by the newest test of each. */
export function verdictsByNode(tests: readonly ClaimTest[]): ReadonlyMap<string, string> {
  const words = new Map<string, string>();
  for (const test of tests.toReversed())
    if (!test.edge && test.nodes.length === 1 && test.nodes[0])
      words.set(test.nodes[0], verdict(test).word);
  return words;
}

/** Why nothing can be tried on a page; null: it can. */
export function barredBy(page: Pick<Schemas["GraphPage"], "read_only" | "live">): string | null {
  if (page.read_only) return "The server is read-only: claims cannot be tried here.";
  if (page.live) return null;
  return "Its dictionaries are not under the served folders, so the model cannot be asked.";
}

/** What was done, e.g. `× 2`. */
export function deed({ how, value }: Pick<ClaimTest, "how" | "value">): string {
  if (how === "ablate") return "ablated";
  return how === "scale"
    ? `× ${rounded(value)}`
    : `set to ${value === null ? NONE : number(value)}`;
}
