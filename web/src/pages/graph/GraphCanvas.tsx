import { useEffect, useMemo, useRef, useState } from "react";
import { number } from "../../ui/format";
import { moved, showing, towards, type View, WHOLE, zoomed } from "../../ui/squareView";
import { useTheme } from "../../ui/useTheme";
import { useWidth } from "../../ui/useWidth";
import { ZoomButtons } from "../../ui/ZoomButtons";
import { KINDS, nodeAddress, siteWords, tokenText } from "./columns";
import {
  coloursOf,
  drawLinks,
  drawMoved,
  drawScene,
  type Picture,
  type Scene,
  shape,
} from "./draw";
import type { Marks } from "./useMarks";
import type { Shown } from "./useShown";
import { rowSite } from "./layout";
import { largest } from "./strength";
import { type Frame, nearest, screenX, screenY, within } from "./view";

/** Rows lie further apart than nodes, so that up and down may go twice as far to the side. */
const ROWS_ASLANT = 2;

interface Props {
  shown: Shown;
  marks: Marks;
  onFocus: (i: number | null) => void;
  onSelect: (nodes: readonly number[], add: boolean) => void;
}

const REACH = 11;
const CLICK = 4;
/** Links that are drawn anew within a frame. */
const MANY = 400;
const REST_MS = 110;
const GUTTER = { left: 92, right: 12, top: 26, bottom: 58 };

interface Drag {
  x: number;
  y: number;
  far: number;
  /** Where a selection began, with Shift held. */
  from: { x: number; y: number } | null;
}

/** The link graph: tokens from left to right, layers from below; on it what is under the pointer. */
export function GraphCanvas(props: Props) {
  const { shown, marks, onFocus, onSelect } = props;
  const { focus, lit, pinned, selected, group, labelled, nLabels, links } = marks;
  const { nodes, layout, page } = shown;
  const [whole, width] = useWidth<HTMLDivElement>(900);
  const box = useRef<HTMLCanvasElement>(null);
  const over = useRef<HTMLCanvasElement>(null);
  const [view, setView] = useState<View>(WHOLE);
  const [hovered, setHovered] = useState<number | null>(null);
  const [square, setSquare] = useState<[Drag["from"], Drag["from"]] | null>(null);
  const drag = useRef<Drag | null>(null);
  const { theme } = useTheme();
  const height = Math.round(Math.max(420, Math.min(820, window.innerHeight - 300)));
  const frame: Frame = useMemo(
    () => ({
      left: GUTTER.left,
      top: GUTTER.top,
      width: Math.max(100, width - GUTTER.left - GUTTER.right),
      height: height - GUTTER.top - GUTTER.bottom,
    }),
    [width, height],
  );
  const hover = hovered !== null && hovered < nodes.id.length ? hovered : null;
  const words = useMemo(
    () => ({
      mostNode: largest(nodes.attribution, (i) => nodes.kind[i] !== "target"),
      mostFlow: largest(links.flow),
      tokens: page.meta.tokens.map(({ text }) => tokenText(text)),
      rowNames: layout.rows.map(({ at }) => {
        const site = rowSite(nodes, at);
        return at === 0 ? "tokens" : site ? siteWords(site) : "target";
      }),
      nameOf: shown.shortName,
    }),
    [nodes, links, page.meta.tokens, layout, shown.shortName],
  );
  // All but the view, so that a new view alone is known for what it is. The theme is part of it.
  const still = useMemo(
    () => ({
      ...words,
      theme,
      nodes,
      layout,
      links,
      frame,
      lit,
      focus,
      pinned,
      selected,
      group,
      labelled,
      nLabels,
    }),
    [
      words,
      theme,
      nodes,
      layout,
      links,
      frame,
      lit,
      focus,
      pinned,
      selected,
      group,
      labelled,
      nLabels,
    ],
  );
  const scene = useMemo(() => ({ ...still, view }), [still, view]);
  const picture = useRef<{ of: object; picture: Picture } | null>(null);
  useEffect(() => {
    const own = box.current;
    if (!own) return;
    const whole = () => {
      const scale = fit(own, width, height);
      const drawn = drawScene(own, { ...still, view, colours: coloursOf(own) }, scale);
      picture.current = drawn && { of: still, picture: drawn };
      // For benchmarks: when something was on the screen for the first time.
      if (performance.getEntriesByName("graph-drawn").length === 0) performance.mark("graph-drawn");
    };
    const last = picture.current?.of === still ? picture.current.picture : null;
    // While the view moves the last picture moves with it; once it rests, all is drawn anew.
    const isMoving = last !== null && still.links.flow.length > MANY && last.view !== view;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const request = requestAnimationFrame(() => {
      if (!isMoving) return whole();
      const scale = fit(own, width, height);
      drawMoved(own, { ...still, view, colours: coloursOf(own) }, scale, last);
      timer = setTimeout(whole, REST_MS);
    });
    return () => {
      cancelAnimationFrame(request);
      clearTimeout(timer);
    };
  }, [box, still, view, width, height, theme]);
  useEffect(() => {
    const own = over.current;
    if (!own) return;
    const request = requestAnimationFrame(() => {
      const scale = fit(own, width, height);
      drawOver(own, { ...scene, colours: coloursOf(own) }, scale, hover, square);
    });
    return () => cancelAnimationFrame(request);
  }, [scene, width, height, theme, hover, square]);
  // React listens to the wheel passively, and so could not keep the page from zooming.
  useEffect(() => {
    const own = box.current;
    const wheel = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const { left, top } = (event.currentTarget as Element).getBoundingClientRect();
      const x = (event.clientX - left - frame.left) / frame.width;
      const y = (event.clientY - top - frame.top) / frame.height;
      setView((before) => zoomed(before, 2 ** (-event.deltaY / 240), x, y));
    };
    own?.addEventListener("wheel", wheel, { passive: false });
    return () => own?.removeEventListener("wheel", wheel);
  }, [box, frame]);
  // What is looked at from elsewhere comes into sight.
  const [before, setBefore] = useState(focus);
  if (focus !== before) {
    setBefore(focus);
    if (focus !== null) setView(showing(view, layout.x[focus] ?? 0, layout.y[focus] ?? 0));
  }
  const pointOf = (event: React.PointerEvent) => {
    const { left, top } = event.currentTarget.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  const nodeAt = (event: React.PointerEvent) => nearest(layout, view, frame, pointOf(event), REACH);
  const onMove = (event: React.PointerEvent) => {
    const start = drag.current;
    if (!start) return setHovered(nodeAt(event));
    const [dx, dy] = [event.clientX - start.x, event.clientY - start.y];
    const far = start.far + Math.hypot(dx, dy);
    drag.current = { ...start, x: event.clientX, y: event.clientY, far };
    if (far <= CLICK) return;
    setHovered(null);
    if (start.from) setSquare([start.from, pointOf(event)]);
    else setView((now) => moved(now, dx / frame.width, dy / frame.height));
  };
  const onUp = (event: React.PointerEvent) => {
    const start = drag.current;
    drag.current = null;
    setSquare(null);
    if (!start) return;
    if (start.far <= CLICK) {
      const node = nodeAt(event);
      if (!event.shiftKey) onFocus(node);
      else if (node !== null) onSelect([node], true);
    } else if (start.from) onSelect(within(layout, view, frame, start.from, pointOf(event)), false);
  };
  const onKey = (event: React.KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = hover ?? focus ?? 0;
    if (event.key.startsWith("Arrow")) {
      const next = towards(layout, at, event.key, ROWS_ASLANT);
      if (next !== null) {
        setHovered(next);
        setView(showing(view, layout.x[next] ?? 0, layout.y[next] ?? 0));
      }
    } else if (event.key === "+" || event.key === "=") setView(zoomed(view, 1.5));
    else if (event.key === "-") setView(zoomed(view, 1 / 1.5));
    else if (event.key === "0") setView(WHOLE);
    else if (event.key === "Enter") onFocus(hover ?? focus);
    else if (event.key === " " && hover !== null) onSelect([hover], true);
    else return;
    event.preventDefault();
  };
  return (
    <div className="link-graph" ref={whole} style={{ height }}>
      <canvas ref={over} className="link-over" style={{ width, height }} aria-hidden="true" />
      <canvas
        ref={box}
        className={hover === null ? "link-canvas" : "link-canvas over"}
        style={{ width, height }}
        role="application"
        aria-roledescription="graph"
        aria-label="Link graph. Arrow keys go from node to node, Enter shows the links of a node, Space selects it. The list of nodes below holds the same."
        tabIndex={0}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          event.currentTarget.setPointerCapture(event.pointerId);
          const from = event.shiftKey ? pointOf(event) : null;
          drag.current = { x: event.clientX, y: event.clientY, far: 0, from };
        }}
        onPointerMove={onMove}
        onPointerUp={onUp}
        onPointerCancel={() => (drag.current = null)}
        onPointerLeave={() => setHovered(null)}
        onKeyDown={onKey}
      />
      <ZoomButtons view={view} onView={setView} />
      <div
        className="map-tip"
        aria-live="polite"
        hidden={hover === null}
        style={hover === null ? {} : tipPlace(hover, scene, width, height)}
      >
        {hover !== null && <Tip shown={shown} i={hover} />}
      </div>
    </div>
  );
}

/** Setting a size clears the canvas, so only where it changed. */
function fit(canvas: HTMLCanvasElement, width: number, height: number): number {
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  return scale;
}

/** What changes with the pointer: the node under it with its links, and the square of a selection. */
function drawOver(
  canvas: HTMLCanvasElement,
  scene: Scene,
  scale: number,
  hover: number | null,
  square: [Drag["from"], Drag["from"]] | null,
) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const { layout, view, frame, colours, links, nodes } = scene;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, canvas.width / scale, canvas.height / scale);
  if (hover !== null) {
    if (scene.focus === null) {
      const own = { source: [] as number[], goal: [] as number[], flow: [] as number[] };
      links.flow.forEach((flow, i) => {
        if (links.source[i] !== hover && links.goal[i] !== hover) return;
        own.source.push(links.source[i] ?? 0);
        own.goal.push(links.goal[i] ?? 0);
        own.flow.push(flow);
      });
      drawLinks(context, scene, own, largest(own.flow), 1.2);
    }
    const x = screenX(layout.x[hover] ?? 0, view, frame);
    const y = screenY(layout.y[hover] ?? 0, view, frame);
    context.strokeStyle = colours.text;
    context.lineWidth = 2;
    shape(context, nodes.kind[hover] ?? "", x, y, 11);
    context.stroke();
  }
  const [a, b] = square ?? [];
  if (!a || !b) return;
  context.strokeStyle = colours.accent;
  context.setLineDash([4, 3]);
  context.lineWidth = 1.5;
  context.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y);
  context.setLineDash([]);
}

/** Beside the node, on the side that has room. */
function tipPlace(
  i: number,
  { layout, view, frame }: Pick<Scene, "layout" | "view" | "frame">,
  width: number,
  height: number,
) {
  const x = screenX(layout.x[i] ?? 0, view, frame);
  const y = screenY(layout.y[i] ?? 0, view, frame);
  return {
    ...(x < width / 2 ? { left: x + 16 } : { right: width - x + 16 }),
    ...(y < height / 2 ? { top: y + 12 } : { bottom: height - y + 12 }),
  };
}

function Tip({ shown, i }: { shown: Shown; i: number }) {
  const { nodes, page } = shown;
  const kind = nodes.kind[i] ?? "";
  const position = nodes.position[i];
  const text = position === null || position === undefined ? null : page.meta.tokens[position];
  return (
    <>
      <div>
        <strong>
          <bdi>{shown.nameOf(i)}</bdi>
        </strong>
      </div>
      <div className="muted">
        {KINDS[kind]?.one ?? kind}
        {kind === "feature" && <span className="mono"> {nodeAddress(nodes, i)}</span>}
        {text && kind !== "token" && (
          <>
            {" "}
            at <bdi className="mono">{tokenText(text.text)}</bdi>
          </>
        )}
        {position !== null && <> · position {position}</>}
      </div>
      <div>
        {kind === "target" ? "value " : "adds "}
        <span className="number">{number(nodes.attribution[i])}</span>
        {nodes.activation[i] !== null && (
          <span className="muted"> · activation {number(nodes.activation[i])}</span>
        )}
      </div>
      {kind === "feature" && nodes.label[i] && !nodes.label_known[i] && (
        <div className="muted">A label was guessed, but did not hold.</div>
      )}
    </>
  );
}
