/** The figures of dictionaries and runs: their titles, what they mean, and how they are written. */
import { bytes, count, number, seconds, share } from "../ui/format";

export interface Definition {
  title: string;
  info: string;
  format: (x: number | null | undefined) => string;
}

const three = (x: number | null | undefined) => number(x, 3);
const four = (x: number | null | undefined) => number(x, 4);

const DEFINITIONS: Record<string, Definition> = {
  explained_variance_centred: {
    title: "Explained variance",
    info: "Share of the activation's variance around its mean that the reconstruction explains: 1 is perfect, 0 is what the mean alone reaches.",
    format: three,
  },
  explained_variance_uncentred: {
    title: "Explained variance (uncentred)",
    info: "As explained variance, but around zero, as the Llama Scope paper gives it. The mean alone may score high.",
    format: three,
  },
  normalised_mse: {
    title: "Normalised MSE",
    info: "Squared error over the variance around the mean: 0 is perfect, 1 is what the mean alone reaches.",
    format: three,
  },
  mse: {
    title: "MSE",
    info: "Squared error of the reconstruction, summed over the width, a mean over tokens. During training in the scale of normalised activations.",
    format: three,
  },
  cosine: {
    title: "Cosine",
    info: "Mean cosine between activation and reconstruction.",
    format: three,
  },
  l2_ratio: {
    title: "Norm ratio",
    info: "Norm of the reconstruction over that of the activation. Below 1 the dictionary shrinks.",
    format: three,
  },
  ce: {
    title: "CE loss",
    info: "The model's cross-entropy, in nats a token, with the reconstruction in place of the activation.",
    format: three,
  },
  kl: {
    title: "KL",
    info: "KL divergence, in nats a token, from the clean model's prediction to the one with the reconstruction.",
    format: three,
  },
  ce_clean: {
    title: "CE loss, clean",
    info: "The model's cross-entropy as it is, in nats a token.",
    format: three,
  },
  ce_recovered_zero: {
    title: "CE recovered",
    info: "How much of the loss that zeroing the site costs is won back when the reconstruction is spliced in: 1 is all of it, 0 none.",
    format: three,
  },
  ce_recovered_mean: {
    title: "CE recovered (mean)",
    info: "The same, measured against the mean activation in place of zero: the stricter of the two.",
    format: three,
  },
  l0: { title: "L0", info: "Mean number of latents that fire on a token.", format: three },
  k: {
    title: "k",
    info: "How many latents may fire on a token at this step of the training.",
    format: three,
  },
  loss: {
    title: "Training loss",
    info: "What training minimises, sparsity penalty included, in its own units.",
    format: four,
  },
  lr: {
    title: "Learning rate",
    info: "Step size of the optimiser after warm-up and decay.",
    format: three,
  },
  n_dead: {
    title: "Dead latents",
    info: "Latents that have not fired for a long stretch of tokens (the recipe says how long).",
    format: count,
  },
  n_dense: {
    title: "Dense latents",
    info: "Latents that fire on more than 10 % of the tokens.",
    format: count,
  },
  dead_fraction: {
    title: "Dead latents",
    info: "Share of latents that fired on none of the evaluated tokens.",
    format: share,
  },
  outlier_fraction: {
    title: "Outlier tokens",
    info: "Share of positions left out because their norm is more than ten times the median.",
    format: share,
  },
  n_tokens: { title: "Tokens", info: "Tokens that were read.", format: count },
  n_latents: { title: "Latents", info: "Latents of the dictionary.", format: count },
  n_active: {
    title: "Active",
    info: "Numbers a token that this row may use: latents, or components.",
    format: three,
  },
};

const SCORE = "A mean over the labels that were scored; 1 is always right, 0.5 is chance.";
const SCORES: Record<string, [title: string, info: string]> = {
  detection: [
    "Detection",
    `Telling text on which it fires from text on which it does not. ${SCORE}`,
  ],
  fuzzing: ["Fuzzing", `Telling whether the marked tokens are those on which it fires. ${SCORE}`],
  intruder: ["Intruder", "Finding the one text of five on which it does not fire; 0.2 is chance."],
  simulation: [
    "Simulation",
    "Correlation between the activations that the label predicts and the true ones.",
  ],
  detection_shuffled: ["Detection, shuffled", "The same with labels of other latents: chance."],
  detection_neighbour: [
    "Detection, neighbour",
    "The same with the label of the nearest latent: how specific labels are.",
  ],
  n_said: ["Labels written", "Latents for which a label was found at all."],
  n_counted: ["Tokens counted", "Positions of the text that count."],
};

/** What the ending of a key says of its unit. */
const UNITS: readonly [ending: string, format: Definition["format"], words: string][] = [
  ["_per_s", three, " a second"],
  ["_s", seconds, ""],
  ["_fraction", share, ""],
];

/** A figure by its key; one that nobody described is shown under its own name. */
export function definition(key: string): Definition {
  const found = DEFINITIONS[key];
  if (found) return found;
  const known = Object.entries(DEFINITIONS).find(([name]) => key.endsWith(`_${name}`));
  const score = SCORES[key];
  if (score) return { title: score[0], info: score[1], format: formatOf(key) };
  const unit = UNITS.find(([ending]) => key.endsWith(ending));
  const stem = unit ? key.slice(0, -unit[0].length) : key.replace(/^n_/, "");
  const words = stem.replaceAll("_", " ") + (unit?.[2] ?? "");
  const title = words.charAt(0).toUpperCase() + words.slice(1);
  return known ? { ...known[1], title } : { title, info: "", format: unit?.[1] ?? formatOf(key) };
}

function formatOf(key: string): Definition["format"] {
  if (key.startsWith("n_")) return count;
  return key.startsWith("bytes") ? bytes : three;
}
