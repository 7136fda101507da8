import type { Dispatch } from "react";
import { Link } from "wouter";
import { number, share } from "../../ui/format";
import { Popover } from "../../ui/Popover";
import { ProvenanceDrawer } from "../../ui/ProvenanceDrawer";
import { tokenText } from "./columns";
import type { Edit, History } from "./edits";
import type { At, GraphPage } from "./useGraph";
import { ViewsMenu } from "./ViewsMenu";

const EXPORTS = [
  ["neuronpedia", "Attribution graph JSON", "as Neuronpedia and circuit-tracer read it"],
  ["graphml", "GraphML", "for networkx, Gephi, yEd"],
  ["graph", "lmscope .graph", "all of it, with the ledger"],
] as const;

interface Props {
  at: At;
  page: GraphPage;
  history: History;
  edit: Dispatch<Edit>;
}

/** The prompt and its target, and what can be done with the graph as a whole. */
export function GraphHead({ at, page, history, edit }: Props) {
  const { meta, record } = page;
  const address = `/api/graphs/${encodeURIComponent(at.run)}/${encodeURIComponent(at.name)}/export`;
  return (
    <header className="graph-head">
      <div>
        <h1>
          <bdi className="prompt-text">
            {meta.tokens.map(({ text }, place) => (
              <span
                key={place}
                className={place === record.position ? "at-target" : undefined}
                title={`token ${place}`}
              >
                {isSpecial(text) ? <span className="muted">{tokenText(text)}</span> : text}
              </span>
            ))}
          </bdi>
        </h1>
        <p className="muted">
          <bdi>{meta.target}</bdi> <strong className="number">{number(meta.value, 4)}</strong>
          {record.model_value !== null && ` (${number(record.model_value, 4)} in the model)`}
          {record.probability !== null && ` · probability ${share(record.probability)}`}
          {record.recovered !== null && (
            <span title="Share of the target that comes from tokens and positions through what is kept.">
              {" "}
              · {share(record.recovered)} recovered
            </span>
          )}{" "}
          · {meta.model} · <Link href={`/runs/${encodeURIComponent(at.run)}`}>run</Link>
        </p>
      </div>
      <div className="head-tools">
        <button
          type="button"
          aria-label="Undo"
          title="Undo (u)"
          disabled={history.past.length === 0}
          onClick={() => edit({ do: "undo" })}
        >
          ↶
        </button>
        <button
          type="button"
          aria-label="Redo"
          title="Redo (U)"
          disabled={history.future.length === 0}
          onClick={() => edit({ do: "redo" })}
        >
          ↷
        </button>
        <ViewsMenu
          at={at}
          arrangement={history.now}
          readOnly={page.read_only}
          onLoad={(arrangement) => edit({ do: "load", arrangement })}
        />
        <Popover button="Export">
          <span className="views-menu">
            {EXPORTS.map(([as, title, what]) => (
              <a key={as} href={`${address}?as=${as}`} download>
                {title} <span className="muted">{what}</span>
              </a>
            ))}
          </span>
        </Popover>
        {page.player && (
          <Link
            className="button"
            href={`/othello/${encodeURIComponent(page.player)}?${boardOf(page, at)}`}
          >
            Board
          </Link>
        )}
        <Link
          className="button"
          href={`/graphs/compare?a=${encodeURIComponent(`${at.run}/${at.name}`)}`}
        >
          Compare
        </Link>
        <ProvenanceDrawer provenance={page.provenance} />
      </div>
    </header>
  );
}

/** The game of the prompt on its player's board, with this graph beside it. */
const boardOf = ({ meta, record }: GraphPage, { run, name }: At) =>
  new URLSearchParams({
    game: meta.prompt,
    at: String(record.position + 1),
    graph: `${run}/${name}`,
  }).toString();

const isSpecial = (text: string) => /^<.*>$/.test(text);
