import type { Schemas } from "../../api/client";
import { Histogram } from "../../ui/Histogram";
import { Panel } from "../../ui/Panel";
import { Empty } from "../../ui/states";

/** How the latents are spread: how often they fire, how many on a token, how long their rows are. */
export function LatentsTab({ page }: { page: Schemas["DictionaryPage"] }) {
  const { density, norms, evaluations } = page;
  const latest = evaluations[0];
  const frequency = density ?? latest?.frequency;
  if (!frequency && !norms) return <Empty>Nothing was measured yet.</Empty>;
  return (
    <div className="columns">
      {frequency && (
        <Panel
          title="How often latents fire"
          info={`Latents by the share of tokens on which they fire, on a logarithmic axis; dead ones are left out. ${density ? "Counted on the text of the atlas." : "Counted on the evaluated text."}`}
        >
          <Histogram histogram={frequency} xLabel="share of tokens" yLabel="latents" />
        </Panel>
      )}
      {latest && (
        <Panel title="Latents on a token" info="L0: how many latents fire on a token.">
          {latest.l0.counts.length > 1 ? (
            <Histogram histogram={latest.l0} xLabel="latents that fire" yLabel="tokens" />
          ) : (
            <p>
              On every token, {latest.l0.edges[0]} latents fire: this sparsity keeps their number.
            </p>
          )}
        </Panel>
      )}
      {norms && (
        <Panel
          title="Norms of decoder rows"
          info="A row is the direction that a latent adds to the written site when it fires; its norm is how far it moves it for an activation of 1."
        >
          <Histogram histogram={norms} xLabel="norm" yLabel="latents" />
        </Panel>
      )}
    </div>
  );
}
