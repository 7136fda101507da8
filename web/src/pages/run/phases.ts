/** What a run is at, in words. */
const PHASES: Record<string, string> = {
  load: "Loading the model",
  text: "Reading the text",
  calibrate: "Measuring norms for calibration",
  train: "Training",
  baselines: "Fitting baselines",
  evaluate: "Evaluating",
  compare: "Comparing",
  census: "Counting activations",
  similar: "Finding neighbours",
  logits: "Computing logit effects",
  explain: "Writing and scoring labels",
  controls: "Scoring control labels",
};

export const phaseName = (phase: string) =>
  PHASES[phase] ?? phase.charAt(0).toUpperCase() + phase.slice(1).replaceAll("_", " ");
