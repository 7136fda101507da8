import { useState } from "react";
import type { Schemas } from "../../api/client";
import { DictionaryName } from "../../ui/DictionaryName";
import { count, seconds } from "../../ui/format";
import { visible } from "../../ui/glyphs";
import { Empty } from "../../ui/states";
import { firingOrder, type Order } from "./firing";
import { FiringTable } from "./FiringTable";
import { TokenStrip } from "./TokenStrip";
import "../../ui/Panel.css";

interface Props {
  probed: Schemas["Probed"];
  order: Order;
  maxDensity: number | null;
}

const FIRST = 25;

/** One dictionary on the text: its tokens, and the latents that fire on them. */
export function ProbedPanel({ probed, order, maxDensity }: Props) {
  const [token, setToken] = useState<number | null>(null);
  const [pinned, setPinned] = useState<number | null>(null);
  const [pointed, setPointed] = useState<number | null>(null);
  const [all, setAll] = useState(false);
  const { dictionary, tokens, latents, n_firing } = probed;
  const ordered = firingOrder(latents, { order, token, maxDensity });
  const shown = all ? ordered : ordered.slice(0, FIRST);
  const shading = latents.find(({ latent }) => latent === (pointed ?? pinned));
  const chosen = token === null ? null : tokens[token];
  return (
    <section className="panel" aria-label={`On ${dictionary.name}`}>
      <header className="panel-head">
        <h2>
          <DictionaryName line={dictionary} />
        </h2>
        {dictionary.model && <span className="muted">{dictionary.model}</span>}
        <span className="panel-actions muted">
          {count(n_firing)} latents fire · {seconds(probed.elapsed_s)}
        </span>
      </header>
      <TokenStrip tokens={tokens} shading={shading} chosen={token} onChoose={setToken} />
      <p className="muted strip-help" role="status">
        {chosen ? (
          <>
            Ordered by the activation on{" "}
            <bdi className="mono">
              {visible(chosen.text, { showWhitespace: true, breakLines: false })}
            </bdi>
            : {count(ordered.length)} of the listed latents fire there.{" "}
            <button type="button" className="small" onClick={() => setToken(null)}>
              All tokens
            </button>
          </>
        ) : (
          "Choose a token to order by it; point at a latent's trace to shade the text with it."
        )}
      </p>
      {ordered.length === 0 ? (
        <Empty>
          {chosen && !chosen.counts
            ? "Dictionaries leave this token out: it is special, the first one, or an outlier."
            : latents.length === 0
              ? "No latent fires on this text."
              : "No listed latent fits: allow a larger share, or choose another token."}
        </Empty>
      ) : (
        <FiringTable
          dictionary={dictionary}
          tokens={tokens}
          rows={shown}
          token={token}
          pinned={pinned}
          onPin={(latent) => setPinned(latent === pinned ? null : latent)}
          onPoint={setPointed}
        />
      )}
      <div className="firing-foot">
        {ordered.length > shown.length && (
          <button type="button" onClick={() => setAll(true)}>
            Show all {count(ordered.length)}
          </button>
        )}
        {n_firing > latents.length && (
          <span className="muted">
            The {count(latents.length)} strongest of the {count(n_firing)} that fire are listed.
          </span>
        )}
      </div>
    </section>
  );
}
