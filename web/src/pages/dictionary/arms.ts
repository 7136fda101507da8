/** The evaluation table: its columns in order, and what its rows are. */
import type { Schemas } from "../../api/client";

const COLUMNS = [
  "explained_variance_centred",
  "ce_recovered_zero",
  "ce_recovered_mean",
  "ce",
  "kl",
  "cosine",
  "l2_ratio",
  "explained_variance_uncentred",
  "normalised_mse",
  "mse",
];

/** The figures that any row has; those without a place of their own come last, L0 has its own column. */
export function columnsOf(
  arms: readonly Schemas["DictionaryPage"]["evaluations"][number]["arms"][number][],
) {
  const there = new Set(arms.flatMap(({ figures }) => Object.keys(figures)));
  for (const name of ["l0", "ce_clean"]) there.delete(name);
  return [
    ...COLUMNS.filter((name) => there.has(name)),
    ...[...there].filter((name) => !COLUMNS.includes(name)).toSorted(),
  ];
}

const MEANINGS: Record<string, string> = {
  dictionary: "The dictionary itself.",
  identity:
    "The activation put back unchanged: checks the measuring, and is the best there can be.",
  pca: "Principal components, as many as the dictionary has active latents: what a linear method reaches with as many numbers a token.",
  random: "A dictionary of random directions with the same sparsity: what no training reaches.",
  "model alone": "The model without any replacement.",
  "zero ablation": "Zero in place of the activation: the lower end of CE recovered.",
  "mean ablation": "The mean activation in its place: the lower end of CE recovered (mean).",
};
const NAMES: Record<string, string> = { pca: "PCA", random: "Random dictionary" };
export const armName = (name: string) =>
  NAMES[name] ?? name.charAt(0).toUpperCase() + name.slice(1);
export const armMeaning = (name: string) => MEANINGS[name];

/** Where a stretch of positions is drawn: its geometric middle. */
export const middleOf = ({ first, last }: Schemas["PositionLine"]) =>
  Math.round(Math.sqrt(Math.max(1, first) * Math.max(1, last)) * 10) / 10;

/** A figure over positions, a line for each key; null where no position has it. */
export function overPositions(
  positions: readonly Schemas["PositionLine"][],
  keys: readonly (readonly [key: string, name: string])[],
): Schemas["Line"][] {
  return keys.flatMap(([key, name]) => {
    const there = positions.filter(({ figures }) => typeof figures[key]?.value === "number");
    if (there.length < 2) return [];
    return [{ name, x: there.map(middleOf), y: there.map((p) => p.figures[key]?.value ?? null) }];
  });
}
