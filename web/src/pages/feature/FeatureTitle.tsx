import type { Schemas } from "../../api/client";
import { share } from "../../ui/format";
import { EvidencePart } from "./EvidencePart";
import { verdict } from "./logic";
import { TokenChip } from "./TokenChip";

const SIGNS = { known: "✓", unknown: "?", unasked: "–" };

interface Props {
  page: Schemas["FeaturePage"];
  showMissed: () => void;
}

/** The label as far as it can be trusted, and why it is shown or not. */
export function FeatureTitle({ page, showMissed }: Props) {
  const source = page.sources[0];
  const said = verdict(page);
  return (
    <div className="feature-title">
      <h1>
        <span className="feature-nth">Feature {page.latent}</span>{" "}
        {said.tone === "known" ? (
          <bdi>{page.label}</bdi>
        ) : (
          <span className="muted">{said.tone === "unknown" ? "not known" : "no label"}</span>
        )}
      </h1>
      {page.dead && (
        <span className="chip flag" title="It never fires on the text of the atlas">
          dead
        </span>
      )}
      {page.dense && (
        <span
          className="chip flag"
          title={`It fires on ${share(page.density)} of all tokens: too many to stand for one thing`}
        >
          dense
        </span>
      )}
      {source && said.tone === "unknown" && source.label && (
        <p className="guess">
          The explainer’s guess: <bdi>{source.label}</bdi>
        </p>
      )}
      <p className={`verdict ${said.tone}`}>
        <span aria-hidden="true" className="sign">
          {SIGNS[said.tone]}
        </span>
        {said.text}
      </p>
      {said.tone === "unasked" && !page.dead && (
        <p className="muted">
          <code>lmscope explain RUN</code> writes labels for the run of this atlas, and scores them.
        </p>
      )}
      {said.tone !== "known" && page.peak_tokens.length > 0 && (
        <p className="peaks-on">
          <span className="muted">peaks most often on</span>{" "}
          {page.peak_tokens.slice(0, 6).map((token) => (
            <TokenChip key={token.id} text={token.text} id={token.id} />
          ))}
        </p>
      )}
      <EvidencePart page={page} showMissed={showMissed} />
    </div>
  );
}
