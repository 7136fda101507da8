import type { Schemas } from "../../api/client";
import { Histogram } from "../../ui/Histogram";
import { Panel } from "../../ui/Panel";

/** How large its activations are. */
export function ActivationPanel({ page }: { page: Schemas["FeaturePage"] }) {
  if (page.n_fired === 0) return null;
  return (
    <Panel
      title="Activations"
      info="Tokens by how strongly it fires on them. Bins are equally wide on a logarithmic scale below the largest activation; all that is smaller lies in the first."
    >
      <Histogram
        histogram={page.activations}
        xLabel="activation"
        yLabel="tokens"
        marker={{ value: page.mean, label: "mean" }}
        height={150}
      />
    </Panel>
  );
}
