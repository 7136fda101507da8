import type { Dispatch, RefObject } from "react";
import { count, share as percent } from "../../ui/format";
import type { Edit } from "./edits";
import type { GraphPage } from "./useGraph";

interface Props {
  page: GraphPage;
  share: number;
  waiting: boolean;
  drawing: "links" | "circuit";
  onDrawing: (drawing: "links" | "circuit") => void;
  /** Boxes of the circuit drawing. */
  kept: number;
  linksMost: number;
  onLinksMost: (n: number) => void;
  edit: Dispatch<Edit>;
  search: RefObject<HTMLInputElement | null>;
  words: string;
  onWords: (words: string) => void;
  found: number | null;
  onNext: () => void;
  selected: number;
  onPin: () => void;
  onGroup: () => void;
  onClear: () => void;
}

/** What is drawn: links or the circuit, how much of it, and where a word stands. */
export function GraphTools(props: Props) {
  const { page, share, waiting, drawing, onDrawing, kept, linksMost, onLinksMost, edit } = props;
  const { search, words, onWords, found, onNext, selected, onPin, onGroup, onClear } = props;
  const n = page.nodes.id.length;
  return (
    <div className="graph-tools">
      <span className="segments" role="group" aria-label="Drawing">
        {(["links", "circuit"] as const).map((one) => (
          <button
            key={one}
            type="button"
            aria-pressed={drawing === one}
            onClick={() => onDrawing(one)}
          >
            {one === "links" ? "All links" : `Circuit${kept > 0 ? ` (${kept})` : ""}`}
          </button>
        ))}
      </span>
      <label
        className="share-slider"
        title="Nodes that together carry this share of all influence."
      >
        <span>
          Influence <strong className="number">{percent(share)}</strong>
        </span>
        <input
          type="range"
          min={0.05}
          max={1}
          step={0.01}
          value={share}
          aria-valuetext={`${percent(share)} of the influence, ${n} nodes`}
          onChange={(event) => edit({ do: "share", share: Number(event.target.value) })}
          onPointerUp={() => edit({ do: "settle" })}
          onKeyUp={() => edit({ do: "settle" })}
        />
      </label>
      <span className="muted number shown-counts" role="status" aria-busy={waiting}>
        {count(n)} / {count(page.n_nodes_all)} nodes · {count(page.links.flow.length)} /{" "}
        {count(page.n_links_all)} links
      </span>
      <label>
        <span className="off-screen">Links drawn at most</span>
        <select
          value={linksMost}
          title="Links drawn at most, strongest first; a focused node always has all of its own."
          onChange={(event) => onLinksMost(Number(event.target.value))}
        >
          {[300, 1000, 3000, 10_000, 30_000].map((most) => (
            <option key={most} value={most}>
              ≤ {count(most)}
            </option>
          ))}
        </select>
      </label>
      <span className="find">
        <input
          ref={search}
          type="search"
          aria-label="Find a node"
          placeholder="Find a node (/)"
          value={words}
          maxLength={200}
          onChange={(event) => onWords(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") onNext();
            if (event.key === "Escape") {
              onWords("");
              event.currentTarget.blur();
            }
          }}
        />
        <span role="status" className="muted number">
          {found === null ? "" : `${count(found)} found`}
        </span>
      </span>
      {selected > 0 && (
        <span className="selection" role="group" aria-label="Selected nodes">
          <strong className="number">{selected}</strong> selected
          <button type="button" className="small" disabled={selected < 2} onClick={onGroup}>
            Group
          </button>
          <button type="button" className="small" onClick={onPin}>
            Pin
          </button>
          <button type="button" className="small" onClick={onClear}>
            Clear
          </button>
        </span>
      )}
    </div>
  );
}
