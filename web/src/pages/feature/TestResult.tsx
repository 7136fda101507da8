import { useState } from "react";
import type { Schemas } from "../../api/client";
import { count, number, seconds } from "../../ui/format";
import { visible } from "../../ui/glyphs";
import { TokenText } from "../../ui/TokenText";
import { FiringTable } from "./FiringTable";
import { findLatent, shadedTokens } from "./probing";
import type { Reading } from "./useProbe";

interface Props {
  page: Schemas["FeaturePage"];
  reading: Reading;
  /** Whether it is being read anew. */
  busy: boolean;
  again: () => void;
}

/** The text shaded by the feature, and what else fires on it. */
export function TestResult({ page, reading, busy, again }: Props) {
  const [place, setPlace] = useState<number | null>(null);
  const { probed } = reading;
  const problems = reading.problems.map((problem) => (
    <p key={problem.where} className="problem">
      {problem.message}
    </p>
  ));
  if (!probed) return <>{problems}</>;
  const found = findLatent(probed, page.latent, reading.latent);
  const values = found.state === "fires" ? found.latent.values : null;
  const strongest = found.state === "fires" ? found.latent : null;
  const chosen = place === null ? undefined : probed.tokens[place];
  const choose = (target: Element | null) => {
    const at = target?.closest("[data-at]")?.getAttribute("data-at");
    if (at !== null && at !== undefined) setPlace(place === Number(at) ? null : Number(at));
  };
  return (
    <div className="test-result stack" aria-busy={busy}>
      {problems}
      <p className="test-says" role="status">
        {found.state === "fires" && strongest && (
          <>
            Fires on {count(strongest.n_tokens)} of {count(probed.tokens.length)} tokens, at most{" "}
            <strong>{number(strongest.max)}</strong>
            {page.max > 0 && (
              <span className="muted">
                {" "}
                ({Math.round((100 * strongest.max) / page.max)} % of its largest in the atlas)
              </span>
            )}
          </>
        )}
        {found.state === "silent" && (
          <>
            <strong>Does not fire</strong> on any of the {count(probed.tokens.length)} tokens
          </>
        )}
        {found.state === "unread" && (
          <>
            The text was read for feature {reading.latent}.{" "}
            <button type="button" className="small" onClick={again}>
              Test it for feature {page.latent}
            </button>
          </>
        )}
        <span className="muted"> · {seconds(probed.elapsed_s)}</span>
      </p>
      {/* Choosing a token only sorts the table below, which its titles do as well. */}
      <div
        className="test-text"
        role="presentation"
        onClick={(event) => choose(event.target as Element)}
        onKeyDown={(event) => {
          if (event.key === "Enter") choose(event.currentTarget.querySelector(".token.at"));
        }}
      >
        <TokenText
          tokens={shadedTokens(probed.tokens, values)}
          full={page.max > 0 ? page.max : (strongest?.max ?? 1)}
          {...(strongest ? { peak: strongest.peak } : {})}
          wrap="lines"
        />
      </div>
      <p className="hint muted">
        {chosen ? (
          <>
            Ranked by token {place}:{" "}
            <bdi className="mono">
              {visible(chosen.text, { showWhitespace: true, breakLines: false })}
            </bdi>{" "}
            {!chosen.counts && "(left out: special, the first, or an outlier) "}
            <button type="button" className="small" onClick={() => setPlace(null)}>
              All tokens
            </button>
          </>
        ) : (
          "Choose a token to see what fires on it."
        )}
      </p>
      <FiringTable
        key={place ?? "all"}
        dictionary={page.dictionary.id}
        latent={page.latent}
        probed={probed}
        place={place}
      />
    </div>
  );
}
