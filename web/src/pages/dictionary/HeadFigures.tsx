import type { Schemas } from "../../api/client";
import { Figure } from "../../ui/Figure";
import { count, number, share } from "../../ui/format";
import { definition } from "../definitions";

type Page = Schemas["DictionaryPage"];
type Estimate = Schemas["Estimate"];

/** The figures that a reader wants first, with intervals; from the newest evaluation. */
export function HeadFigures({ page }: { page: Page }) {
  const { line, evaluations, atlases } = page;
  const latest = evaluations[0];
  const own = latest?.arms.find(({ name }) => name === "dictionary")?.figures ?? {};
  const estimate = (key: string, value: number | null | undefined): Estimate =>
    own[key] ?? { value: value ?? null };
  const explained = estimate("explained_variance_centred", line.explained_variance_centred);
  const recovered = estimate("ce_recovered_zero", line.ce_recovered_zero);
  const l0 = estimate("l0", line.l0);
  const labels = atlases[0];
  const dead = page.n_dead ?? latest?.n_dead ?? null;
  const dense = page.n_dense ?? latest?.n_dense ?? null;
  const counted = page.n_dead === null ? "on the evaluated text" : "on the atlas's text";
  const partOf = (n: number | null) => (n === null ? "" : share(n / line.n_latents));
  return (
    <section className="panel" aria-label="Figures">
      <dl className="figures head-figures">
        <Measured name="explained_variance_centred" estimate={explained} />
        <Measured name="ce_recovered_zero" estimate={recovered} />
        <Measured name="l0" estimate={l0} />
        <Figure
          label="Dead latents"
          value={count(dead)}
          interval={partOf(dead)}
          info={`Latents that never fired ${counted}; below, their share.`}
        />
        <Figure
          label="Dense latents"
          value={count(dense)}
          interval={partOf(dense)}
          info={`Latents that fired on more than 10 % of the tokens ${counted}; below, their share.`}
        />
        {labels && labels.n_labels > 0 && (
          <Figure
            label="Labels known"
            value={count(labels.n_labels_known)}
            interval={`of ${count(labels.n_labels)} written`}
            info="Labels whose score on text that their writer had not read is surely above the threshold. The others are shown as not known."
          />
        )}
      </dl>
      {latest && (
        <p className="muted figures-source">
          {latest.title}: {count(latest.n_tokens)} tokens in contexts of{" "}
          {count(latest.context_length)}, the loss on {count(latest.n_scored_tokens)} of them.
          Ranges are 95 % intervals.
        </p>
      )}
    </section>
  );
}

function Measured({ name, estimate }: { name: string; estimate: Estimate }) {
  const { title, info } = definition(name);
  const exact = estimate.low === estimate.high;
  return (
    <Figure
      label={title}
      value={number(estimate.value, 3)}
      info={info}
      interval={exact ? null : estimate}
    />
  );
}
