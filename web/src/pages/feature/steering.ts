/** What the steering box works out: requests, and where two texts part. */
import type { Schemas } from "../../api/client";

export type SteerRequest = Schemas["SteerRequest"];
export type SteerKind = NonNullable<SteerRequest["kind"]>;

export interface SteerForm {
  kind: SteerKind;
  amount: string;
  prompt: string;
  chat: boolean;
  where: NonNullable<SteerRequest["where"]>;
  tokens: string;
  temperature: string;
  seed: string;
}

export const FIRST_FORM: SteerForm = {
  kind: "clamp",
  amount: "2x",
  prompt: "",
  chat: false,
  where: "all",
  tokens: "32",
  temperature: "0",
  seed: "0",
};

export const PRESETS: Record<SteerKind, readonly string[]> = {
  clamp: ["1x", "2x", "4x"],
  add: ["-1x", "1x", "2x", "4x"],
  ablate: [],
};

export const KINDS: Record<SteerKind, { title: string; meaning: string }> = {
  clamp: { title: "Clamp", meaning: "Its activation becomes the amount on every steered token." },
  add: { title: "Add", meaning: "Its activation rises by the amount; a negative one pushes away." },
  ablate: { title: "Ablate", meaning: "What it writes is taken away: its activation becomes 0." },
};

const AMOUNT = /^[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?x?$/i;

/** What keeps a form from being sent, in a sentence; null when nothing does. */
export function mistake(form: SteerForm): string | null {
  if (form.prompt.trim() === "") return "Write a prompt to go on from.";
  if (form.kind !== "ablate" && !AMOUNT.test(form.amount.trim()))
    return "An amount is a number, such as 12.5, or a multiple of its largest activation, such as 2x.";
  const tokens = Number(form.tokens);
  if (!Number.isInteger(tokens) || tokens < 1 || tokens > 256)
    return "New tokens: a whole number from 1 to 256.";
  const temperature = Number(form.temperature);
  if (form.temperature.trim() === "" || !(temperature >= 0 && temperature <= 5))
    return "Temperature: a number from 0 to 5.";
  const seed = Number(form.seed);
  if (form.seed.trim() === "" || !Number.isInteger(seed) || seed < 0 || seed > 2 ** 31 - 1)
    return "Seed: a whole number from 0 to 2147483647.";
  return null;
}

export function steerRequest(form: SteerForm, dictionary: string, latent: number): SteerRequest {
  return {
    dictionary,
    latents: [latent],
    kind: form.kind,
    amount: form.kind === "ablate" ? "1x" : form.amount.trim(),
    prompt: form.prompt,
    chat: form.chat,
    where: form.where,
    n_tokens: Number(form.tokens),
    temperature: Number(form.temperature),
    seed: Number(form.seed),
  };
}

/** An amount in the dictionary's own units, where it is a multiple of the largest activation. */
export function inUnits(amount: string, max: number): number | null {
  const text = amount.trim();
  if (!AMOUNT.test(text) || !/x$/i.test(text) || !(max > 0)) return null;
  return Number(text.slice(0, -1)) * max;
}

/** How many tokens two texts begin with in common. */
export function tokensInCommon(a: readonly string[], b: readonly string[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n += 1;
  return n;
}
