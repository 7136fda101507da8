import { useState } from "react";
import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { number, share as percent } from "../../ui/format";
import { Failed, Loading } from "../../ui/states";
import { TokenText } from "../../ui/TokenText";
import { TokenChip } from "../feature/TokenChip";
import { KINDS, tokenText } from "./columns";
import { TestPart } from "./TestPart";
import { type At, useNode } from "./useGraph";
import type { Shown } from "./useShown";

interface Props {
  at: At;
  shown: Shown;
  place: number;
  pinned: boolean;
  barred: string | null;
  onPin: () => void;
  onFocus: (id: string | null) => void;
}

/** All about the focused node: what it is, what it adds, what it reads and whom it feeds. */
export function NodePanel({ at, shown, place, pinned, barred, onPin, onFocus }: Props) {
  const node = useNode(at, place, 1);
  const [edge, setEdge] = useState<string | null>(null);
  const found = node.data;
  if (node.error) return <Failed error={node.error} retry={() => void node.refetch()} />;
  if (!found) return <Loading what="the node" />;
  const stale = found.place !== place;
  const { page } = shown;
  const text = found.position === null ? null : page.meta.tokens[found.position];
  const isFeature = found.kind === "feature";
  const endProps = { at, shown, barred, node: found, edge, onEdge: setEdge, onFocus };
  return (
    <div className={stale ? "node-panel stale" : "node-panel"} aria-busy={stale}>
      <header>
        <p className="muted node-kind">
          <i className={`sign ${found.kind}`} aria-hidden="true" />
          {KINDS[found.kind]?.one ?? found.kind}
          {found.site && (
            <bdi className="mono">
              {" "}
              {found.site}
              {found.latent !== null && `/${found.latent}`}
            </bdi>
          )}
          {text && (
            <>
              {" "}
              at <bdi className="mono">{tokenText(text.text)}</bdi> ({found.position})
            </>
          )}
        </p>
        <h2>
          <NodeTitle node={found} target={page.meta.target} />
        </h2>
        <div className="node-tools">
          <button type="button" className="small" aria-pressed={pinned} onClick={onPin}>
            {pinned ? "Unpin" : "Pin"}
          </button>
          {found.dictionary && found.latent !== null && (
            <Link
              href={`/dictionaries/${encodeURIComponent(found.dictionary)}/features/${found.latent}`}
            >
              Open the feature
            </Link>
          )}
          <button type="button" className="small close" onClick={() => onFocus(null)}>
            Close
          </button>
        </div>
      </header>
      <dl className="node-figures">
        <div title="What it adds to the target, through all paths that the graph holds.">
          <dt>{found.kind === "target" ? "Value" : "Adds"}</dt>
          <dd className={found.attribution < 0 ? "lowers" : "raises"}>
            {number(found.attribution)}
          </dd>
        </div>
        {found.activation !== null && (
          <div title="In its dictionary’s units.">
            <dt>Activation</dt>
            <dd>{number(found.activation)}</dd>
          </div>
        )}
        {found.kind !== "target" && (
          <div title="Share of all influence that lies in this node and in all above it: small ones matter most.">
            <dt>Influence, top</dt>
            <dd>{percent(found.influence)}</dd>
          </div>
        )}
      </dl>
      {isFeature && (
        <TestPart
          key={found.id}
          at={at}
          what={{ nodes: [found.id] }}
          claim={found.attribution}
          barred={barred}
        />
      )}
      {found.feature && <FeaturePart feature={found.feature} />}
      <Ends title="From below" ends={found.incoming} total={found.n_incoming} below {...endProps} />
      <Ends
        title="To above"
        ends={found.outgoing}
        total={found.n_outgoing}
        below={false}
        {...endProps}
      />
    </div>
  );
}

function NodeTitle({ node, target }: { node: Schemas["NodePage"]; target: string }) {
  if (node.kind === "target") return <bdi>{target}</bdi>;
  if (node.token) return <TokenChip text={node.token.text} id={node.token.id} />;
  if (node.kind !== "feature") return <>{KINDS[node.kind]?.means}</>;
  if (!node.label) return <span className="muted">no label</span>;
  return node.label_known ? (
    <bdi>{node.label}</bdi>
  ) : (
    <span className="muted" title="A label was written, but it did not hold.">
      not known
    </span>
  );
}

/** What the atlas knows of the feature, in short. */
function FeaturePart({ feature }: { feature: Schemas["NodeFeature"] }) {
  const source = feature.sources[0];
  return (
    <section className="node-feature" aria-label="The feature in its atlas">
      {source && (
        <p className="muted small-print">
          {source.known ? "Label" : "Guess"} by {source.explainer}
          {source.precision !== null && `, precision ${number(source.precision, 2)}`}
          {source.recall !== null && `, recall ${number(source.recall, 2)}`}
          {!source.known && source.label !== "" && (
            <>
              : <bdi>{source.label}</bdi>
            </>
          )}
        </p>
      )}
      <p className="small-print">
        Fires on <span className="number">{percent(feature.density)}</span> of tokens, at most{" "}
        <span className="number">{number(feature.max)}</span>
      </p>
      <ChipLine title="Raises" tokens={feature.top_logits} />
      <ChipLine title="Peaks at" tokens={feature.peak_tokens} />
      {feature.passages.length > 0 && (
        <ul className="node-passages">
          {feature.passages.slice(0, 3).map((passage, i) => (
            <li key={i}>
              <TokenText
                tokens={passage.tokens}
                full={feature.max}
                peak={passage.peak}
                wrap="snippet"
              />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function ChipLine({ title, tokens }: { title: string; tokens: Schemas["WeightedToken"][] }) {
  if (tokens.length === 0) return null;
  return (
    <p className="chip-line">
      <span className="muted">{title}</span>{" "}
      {tokens.slice(0, 8).map((token) => (
        <TokenChip key={token.id} text={token.text} id={token.id} />
      ))}
    </p>
  );
}

interface EndsProps {
  title: string;
  ends: Schemas["NodeEnd"][];
  total: number;
  below: boolean;
  node: Schemas["NodePage"];
  at: At;
  shown: Shown;
  barred: string | null;
  edge: string | null;
  onEdge: (id: string | null) => void;
  onFocus: (id: string) => void;
}
const AT_FIRST = 8;

/** The strongest links on one side; each leads to its other end, and can be tested. */
function Ends(props: EndsProps) {
  const { title, ends, total, below, node, at, shown, barred, edge, onEdge, onFocus } = props;
  const [all, setAll] = useState(false);
  if (total === 0) return null;
  const most = Math.max(...ends.map(({ flow }) => Math.abs(flow)), 0) || 1;
  const nameOf = (end: Schemas["NodeEnd"]) => {
    const i = shown.byId.get(end.id);
    return i === undefined ? (end.label_known && end.label) || end.id : shown.nameOf(i);
  };
  const positionOf = (end: Schemas["NodeEnd"]) => {
    const i = shown.byId.get(end.id);
    return i === undefined ? null : (shown.nodes.position[i] ?? null);
  };
  return (
    <section className="ends" aria-label={title}>
      <h3>
        {title} <span className="muted number">{total}</span>
      </h3>
      <ol>
        {(all ? ends : ends.slice(0, AT_FIRST)).map((end) => {
          const pair = (below ? [end.id, node.id] : [node.id, end.id]) as [string, string];
          const lower = below ? end.kind : node.kind;
          const upper = below ? node.kind : end.kind;
          const testable = lower === "feature" && (upper === "feature" || upper === "target");
          const open = edge === pair.join("\n");
          return (
            <li key={end.place}>
              <div className="end">
                <i
                  className={`flow-bar ${end.flow < 0 ? "lowers" : "raises"}`}
                  style={{ width: `${(100 * Math.abs(end.flow)) / most}%` }}
                />
                <button type="button" className="plain" onClick={() => onFocus(end.id)}>
                  <i className={`sign ${end.kind}`} aria-hidden="true" />
                  <bdi>{nameOf(end)}</bdi>
                  {positionOf(end) !== null && end.kind !== "target" && (
                    <span className="muted"> @{positionOf(end)}</span>
                  )}
                </button>
                <span className="number">{number(end.flow)}</span>
                {testable && (
                  <button
                    type="button"
                    className="plain test-link"
                    aria-expanded={open}
                    aria-label={`Test the link with ${nameOf(end)}`}
                    title="Test this link"
                    onClick={() => onEdge(open ? null : pair.join("\n"))}
                  >
                    ⚗
                  </button>
                )}
              </div>
              {open && <TestPart at={at} what={{ edge: pair }} claim={end.flow} barred={barred} />}
            </li>
          );
        })}
      </ol>
      {ends.length > AT_FIRST && (
        <button type="button" className="small" onClick={() => setAll(!all)}>
          {all ? "Fewer" : `${ends.length} strongest`}
        </button>
      )}
    </section>
  );
}
