import { useMemo, useRef, useState } from "react";
import { number } from "../../ui/format";
import { Empty, Failed, Loading } from "../../ui/states";
import { useWidth } from "../../ui/useWidth";
import { type Box, boxesOf, type Flow, flowsBetween, placesOf } from "./circuit";
import { nodeAddress, tokenText } from "./columns";
import { clipped } from "./draw";
import type { Arrangement, Edit } from "./edits";
import { largest, strength } from "./strength";
import { type At, byIndex, useLinksOfAll } from "./useGraph";
import type { Shown } from "./useShown";

interface Props {
  at: At;
  shown: Shown;
  arrangement: Arrangement;
  share: number;
  tested: ReadonlyMap<string, string>;
  onEdit: (edit: Edit) => void;
  onFocus: (id: string) => void;
}

const MOST = 80;
const LETTERS = 24;
const BOX = { width: 172, height: 40 };
/** Flows that bear their figure without being asked. */
const FIGURES = 6;
/** From the side of the drawing to where a box may begin. */
const EDGE = BOX.width / 2 + 6;
const clamped = (share: number) => Math.min(1, Math.max(0, share));

/** What is pinned and grouped as boxes with the flows between them: the figure for a paper. */
export function CircuitDrawing(props: Props) {
  const { at, shown, arrangement, share, tested, onEdit, onFocus } = props;
  const { nodes, byId, byPlace, nameOf } = shown;
  const boxes = useMemo(
    () => boxesOf(nodes, byId, arrangement, nameOf),
    [nodes, byId, arrangement, nameOf],
  );
  const members = boxes.flatMap(({ ids }) => ids.map((id) => nodes.place[byId.get(id) ?? 0] ?? 0));
  const found = useLinksOfAll(at, members.slice(0, MOST), share);
  const flows = useMemo(
    () =>
      flowsBetween(
        boxes,
        nodes,
        found.links.map((links) => byIndex(links, byPlace)),
      ),
    [boxes, nodes, found.links, byPlace],
  );
  if (boxes.length < 2)
    return (
      <div className="circuit-empty">
        <Empty>
          Nothing is pinned yet. Pin nodes (p) or group them (m), and they stand here as boxes with
          the flows between them.
        </Empty>
        <button
          type="button"
          onClick={() => onEdit({ do: "pin", ids: strongestOf(shown), on: true })}
        >
          Pin the strongest nodes
        </button>
      </div>
    );
  if (found.error) return <Failed error={found.error} />;
  return (
    <>
      {members.length > MOST && (
        <p className="problem">
          Links are drawn between the first {MOST} of {members.length} nodes.
        </p>
      )}
      <Drawing {...{ shown, boxes, flows, arrangement, tested, onEdit, onFocus }} />
      {found.waiting && <Loading what="links" />}
    </>
  );
}

/** The strongest features and tokens, so that a drawing has both ends. */
function strongestOf({ nodes, ordered }: Shown): string[] {
  const of = (kind: string, n: number) => ordered.filter((i) => nodes.kind[i] === kind).slice(0, n);
  return [...of("feature", 8), ...of("token", 4)].map((i) => nodes.id[i] ?? "");
}

type DrawingProps = Pick<Props, "shown" | "arrangement" | "tested" | "onEdit" | "onFocus"> & {
  boxes: Box[];
  flows: Flow[];
};

function Drawing({ shown, boxes, flows, arrangement, tested, onEdit, onFocus }: DrawingProps) {
  const [whole, width] = useWidth<HTMLDivElement>(900);
  const drawing = useRef<SVGSVGElement>(null);
  const drag = useRef<{ key: string; far: number } | null>(null);
  const [over, setOver] = useState<string | null>(null);
  const inner = Math.max(1, width - 2 * EDGE);
  const perLine = 1 + Math.floor(inner / (BOX.width + 10));
  const { places: natural, nLines } = useMemo(() => placesOf(boxes, perLine), [boxes, perLine]);
  const height = Math.max(460, nLines * 96);
  const at = ({ key }: Pick<Box, "key">) => {
    const [x, y] = arrangement.moved[key] ?? natural.get(key) ?? [0.5, 0.5];
    return { x: EDGE + clamped(x) * inner, y: Math.min(height - 24, Math.max(24, y * height)) };
  };
  const most = largest(flows.map(({ flow }) => flow));
  const move = (key: string, dx: number, dy: number) => {
    const { x, y } = at({ key });
    onEdit({ do: "move", id: key, x: (x + dx - EDGE) / inner, y: (y + dy) / height });
  };
  const onKey = (event: React.KeyboardEvent, box: Box) => {
    const step = event.shiftKey ? 24 : 8;
    const [dx = 0, dy = 0] = {
      ArrowRight: [step, 0],
      ArrowLeft: [-step, 0],
      ArrowDown: [0, step],
      ArrowUp: [0, -step],
    }[event.key] ?? [0, 0];
    if (dx !== 0 || dy !== 0) move(box.key, dx, dy);
    else if (event.key === "Enter" && box.ids[0]) onFocus(box.ids[0]);
    else return;
    event.preventDefault();
  };
  return (
    <div className="circuit-drawing" ref={whole}>
      <svg
        ref={drawing}
        width={width}
        height={height}
        viewBox={`0 0 ${width} ${height}`}
        role="group"
        aria-label="Circuit drawing. Each box is a pinned node or a group; arrow keys move it."
      >
        {flows.toReversed().map(({ source, goal, flow, n }, order) => {
          const [a, b] = [at({ key: source }), at({ key: goal })];
          const [y0, y1] = [a.y - BOX.height / 2, b.y + BOX.height / 2];
          const middle = (y0 + y1) / 2;
          const strong = strength(flow, most);
          const faded = over !== null && over !== source && over !== goal;
          return (
            <g key={`${source}\n${goal}`} className={flow < 0 ? "flow lowers" : "flow raises"}>
              <path
                d={`M${a.x} ${y0}C${a.x} ${middle} ${b.x} ${middle} ${b.x} ${y1}`}
                strokeWidth={0.6 + 4.4 * strong}
                opacity={faded ? 0.08 : 0.2 + 0.65 * strong}
              >
                <title>{`${number(flow)}${n > 1 ? `, ${n} links` : ""}`}</title>
              </path>
              {(order >= flows.length - FIGURES || over === source || over === goal) && !faded && (
                <text x={(a.x + b.x) / 2} y={middle}>
                  {number(flow)}
                </text>
              )}
            </g>
          );
        })}
        {boxes.map((box) => {
          const { x, y } = at(box);
          return (
            <g
              key={box.key}
              className={`box ${box.isGroup ? "group" : kindOf(shown, box)}`}
              transform={`translate(${x} ${y})`}
              tabIndex={0}
              role="button"
              aria-label={`${clipped(box.title, LETTERS)} ${subtitle(shown, box, tested)}`}
              onKeyDown={(event) => onKey(event, box)}
              onPointerEnter={() => setOver(box.key)}
              onPointerLeave={() => setOver(null)}
              onPointerDown={(event) => {
                if (event.button !== 0) return;
                event.currentTarget.setPointerCapture(event.pointerId);
                drag.current = { key: box.key, far: 0 };
              }}
              onPointerMove={(event) => {
                if (drag.current?.key !== box.key) return;
                drag.current.far += Math.hypot(event.movementX, event.movementY);
                if (drag.current.far > 4) move(box.key, event.movementX, event.movementY);
              }}
              onPointerUp={() => {
                const far = drag.current?.far ?? 0;
                drag.current = null;
                onEdit({ do: "settle" });
                if (far <= 4 && box.ids[0]) onFocus(box.ids[0]);
              }}
            >
              <rect
                x={-BOX.width / 2}
                y={-BOX.height / 2}
                width={BOX.width}
                height={BOX.height}
                rx={box.isGroup ? 14 : 5}
              />
              <text className="box-title" y={-4}>
                {`${clipped(box.title, LETTERS)} `}
              </text>
              <text className="box-value" y={12}>
                {subtitle(shown, box, tested)}
              </text>
            </g>
          );
        })}
      </svg>
    </div>
  );
}

const kindOf = ({ nodes, byId }: Shown, box: Box) => nodes.kind[byId.get(box.ids[0] ?? "") ?? 0];

function subtitle(shown: Shown, box: Box, tested: ReadonlyMap<string, string>): string {
  const { nodes, byId, page } = shown;
  const i = byId.get(box.ids[0] ?? "") ?? 0;
  if (nodes.kind[i] === "target") return number(box.attribution);
  const adds = `${box.attribution > 0 ? "+" : ""}${number(box.attribution)}`;
  if (box.isGroup) return `${box.ids.length} nodes · ${adds}`;
  if (nodes.kind[i] !== "feature") return adds;
  const text = tokenText(page.meta.tokens[nodes.position[i] ?? -1]?.text);
  const where = nodes.label_known[i] ? nodeAddress(nodes, i) : clipped(text, 9);
  return `${where} · ${adds} · ${tested.get(box.ids[0] ?? "") ?? "untested"}`;
}
