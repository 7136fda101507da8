/** What a person fills in to start a job, and the request that comes of it. */
import type { Schemas } from "../../api/client";

export type Verb = Schemas["JobRequest"]["verb"];

export interface Field {
  /** Key of the recipe in dots, as `--set` takes it. */
  key: string;
  title: string;
  kind: "count" | "share" | "text";
  info: string;
  /** What holds where the field is left empty. */
  absent: string;
}

export interface VerbForm {
  verb: Verb;
  title: string;
  does: string;
  fields: Field[];
}

const TOKENS = "from its training run";

export const VERBS: readonly VerbForm[] = [
  {
    verb: "train",
    title: "Train",
    does: "Train the dictionaries of a shipped recipe. The larger ones take hours or a GPU: their names say which model they read.",
    fields: [
      {
        key: "text.max_tokens",
        title: "Tokens",
        kind: "count",
        info: "At most so many tokens of text.",
        absent: "the recipe's",
      },
      {
        key: "seed",
        title: "Seed",
        kind: "count",
        info: "The one seed of all random numbers.",
        absent: "0",
      },
    ],
  },
  {
    verb: "evaluate",
    title: "Evaluate",
    does: "Measure a run's dictionaries again on held-out text: reconstruction, loss, sparsity, baselines.",
    fields: [
      {
        key: "evaluation.tokens",
        title: "Tokens",
        kind: "count",
        info: "Tokens on which latents and reconstruction are measured.",
        absent: TOKENS,
      },
      {
        key: "text.context_length",
        title: "Context length",
        kind: "count",
        info: "Tokens of one context.",
        absent: TOKENS,
      },
      {
        key: "text.source",
        title: "Text",
        kind: "text",
        info: "`sample`, a file or folder on this machine, or hf:NAME[:SPLIT[:COLUMN]].",
        absent: TOKENS,
      },
    ],
  },
  {
    verb: "atlas",
    title: "Build atlas",
    does: "Read text once more and write down where every latent fires: examples, densities, neighbours, logit effects.",
    fields: [
      {
        key: "census.tokens",
        title: "Tokens",
        kind: "count",
        info: "Tokens that the census counts.",
        absent: "1,000,000",
      },
      {
        key: "text.source",
        title: "Text",
        kind: "text",
        info: "`sample`, a file or folder on this machine, or hf:NAME[:SPLIT[:COLUMN]].",
        absent: TOKENS,
      },
    ],
  },
  {
    verb: "explain",
    title: "Explain",
    does: "Write a label for each latent of a run's atlases and score it on text that its writer did not read.",
    fields: [
      {
        key: "n_latents",
        title: "Latents",
        kind: "count",
        info: "Only so many latents, drawn at random.",
        absent: "all",
      },
      {
        key: "threshold",
        title: "Threshold",
        kind: "share",
        info: "Labels whose detection score is surely at least this are shown as known; 0.5 is chance.",
        absent: "0.6",
      },
    ],
  },
  {
    verb: "geometry",
    title: "Geometry",
    does: "Compare the latents of a run's dictionaries: splitting, matching, neighbours, maps.",
    fields: [],
  },
];

export interface Draft {
  verb: Verb;
  recipe: string;
  run: string;
  resume: string;
  only: string[];
  /** By key, as typed. */
  values: Record<string, string>;
  /** Further `KEY=VALUE` lines. */
  more: string;
}

export const EMPTY: Draft = {
  verb: "atlas",
  recipe: "",
  run: "",
  resume: "",
  only: [],
  values: {},
  more: "",
};

export type Checked =
  | { request: Schemas["JobRequest"]; problem: null }
  | { request: null; problem: string };

const refuse = (problem: string): Checked => ({ request: null, problem });

/** The request, or why there is none yet in one sentence. */
export function checked(draft: Draft): Checked {
  const base = { verb: draft.verb, recipe: null, run: null, resume: null, only: [], options: {} };
  if (draft.resume) return { request: { ...base, resume: draft.resume }, problem: null };
  if (draft.verb === "train" && !draft.recipe) return refuse("Choose a recipe.");
  if (draft.verb !== "train" && !draft.run) return refuse("Choose a run to work on.");
  const options: Record<string, unknown> = {};
  const form = VERBS.find(({ verb }) => verb === draft.verb);
  for (const field of form?.fields ?? []) {
    const text = (draft.values[field.key] ?? "").trim();
    if (text === "") continue;
    const value = valueOf(field, text);
    if (value === null)
      return refuse(`${field.title} must be ${WANTED[field.kind]}, not “${text}”.`);
    options[field.key] = value;
  }
  for (const line of draft.more.split("\n").map((text) => text.trim())) {
    if (line === "") continue;
    const cut = line.indexOf("=");
    if (cut < 1) return refuse(`“${line}” is not of the form KEY=VALUE.`);
    options[line.slice(0, cut).trim()] = plain(line.slice(cut + 1).trim());
  }
  const target =
    draft.verb === "train" ? { recipe: draft.recipe } : { run: draft.run, only: draft.only };
  return { request: { ...base, ...target, options }, problem: null };
}

const WANTED = { count: "a whole number", share: "a number between 0 and 1", text: "a text" };

function valueOf({ kind }: Field, text: string): number | string | null {
  if (kind === "text") return text;
  const number = amount(text);
  if (number === null) return null;
  if (kind === "count") return Number.isInteger(number) && number >= 0 ? number : null;
  return number >= 0 && number <= 1 ? number : null;
}

/** `200k`, `1.5M` and `100,000` are numbers too. */
export function amount(text: string): number | null {
  const match = /^([0-9][0-9,_]*(?:\.[0-9]+)?)\s*([kKmM]?)$/.exec(text);
  if (!match) return null;
  const scale = { "": 1, k: 1e3, m: 1e6 }[(match[2] ?? "").toLowerCase()] ?? 1;
  return Math.round(Number((match[1] ?? "").replaceAll(/[,_]/g, "")) * scale * 1e6) / 1e6;
}

/** A value as TOML writes it; what is none of its plain kinds is taken as text. */
function plain(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
