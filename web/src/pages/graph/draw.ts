/** Draws the link graph: rows and columns, links, nodes, and labels as far as there is room. */
import type { LinkColumns, NodeColumns } from "./columns";
import type { Band, Layout } from "./layout";
import { LINK_BUCKETS, linkAlpha, linkBucket, linkWidth, radiusOf } from "./strength";
import type { View } from "../../ui/squareView";
import { type Frame, screenX, screenY } from "./view";

export interface Colours {
  ground: string;
  surface: string;
  line: string;
  text: string;
  muted: string;
  accent: string;
  positive: string;
  negative: string;
  groups: readonly string[];
}

export interface Scene {
  nodes: NodeColumns;
  layout: Layout;
  links: LinkColumns;
  /** Largest attribution among features, and largest flow among the links. */
  mostNode: number;
  mostFlow: number;
  view: View;
  frame: Frame;
  colours: Colours;
  /** Nodes that are not faded; null: none is. */
  lit: ReadonlySet<number> | null;
  focus: number | null;
  pinned: ReadonlySet<number>;
  selected: ReadonlySet<number>;
  /** The number of its group, where a node stands in one. */
  group: ReadonlyMap<number, number>;
  tokens: readonly string[];
  rowNames: readonly string[];
  /** Nodes in the order in which they get labels, and what they are called. */
  labelled: readonly number[];
  /** How many of them may get one. */
  nLabels: number;
  nameOf: (i: number) => string;
}

/** Colours of the page's theme, which only the browser knows. */
export function coloursOf(element: Element): Colours {
  const style = getComputedStyle(element);
  const of = (name: string) => style.getPropertyValue(name).trim();
  return {
    ground: of("--ground"),
    surface: of("--surface"),
    line: of("--line"),
    text: of("--text"),
    muted: of("--muted"),
    accent: of("--accent"),
    positive: of("--positive"),
    negative: of("--negative"),
    groups: [1, 2, 3, 4, 5, 6].map((n) => of(`--series-${n}`)),
  };
}

/** A picture of the graph as it was drawn last, to be moved about while somebody drags. */
export interface Picture {
  canvas: HTMLCanvasElement;
  view: View;
}

/** All of it; `scale` is how many pixels of the screen one of the page has. Answers with a picture of it. */
export function drawScene(canvas: HTMLCanvasElement, scene: Scene, scale: number): Picture | null {
  const context = canvas.getContext("2d");
  if (!context) return null;
  const [width] = begin(context, scene, scale);
  drawBands(context, scene, width);
  drawLinks(context, scene, scene.links, scene.mostFlow, 1);
  drawNodes(context, scene);
  drawLabels(context, scene, width);
  context.restore();
  const picture = document.createElement("canvas");
  picture.width = canvas.width;
  picture.height = canvas.height;
  picture.getContext("2d")?.drawImage(canvas, 0, 0);
  finish(context, scene, scale);
  return { canvas: picture, view: scene.view };
}

/** The last picture where the view has gone since: thousands of links are not drawn for each move of a hand. */
export function drawMoved(
  canvas: HTMLCanvasElement,
  scene: Scene,
  scale: number,
  picture: Picture,
) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const { view, frame } = scene;
  const [width, height] = begin(context, scene, scale);
  const grown = view.zoom / picture.view.zoom;
  const corner = (side: "left" | "top", from: number, size: number) =>
    from + (picture.view[side] - view[side]) * view.zoom * size - from * grown;
  context.drawImage(
    picture.canvas,
    corner("left", frame.left, frame.width),
    corner("top", frame.top, frame.height),
    width * grown,
    height * grown,
  );
  context.restore();
  finish(context, scene, scale);
}

/** Clears the canvas, and keeps what follows inside the part that the graph fills. */
function begin(context: CanvasRenderingContext2D, scene: Scene, scale: number): [number, number] {
  const { frame, colours } = scene;
  const [width, height] = [context.canvas.width / scale, context.canvas.height / scale];
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.fillStyle = colours.ground;
  context.fillRect(0, 0, width, height);
  context.save();
  context.beginPath();
  context.rect(frame.left, 0, width - frame.left, frame.top + frame.height);
  context.clip();
  return [width, height];
}

function finish(context: CanvasRenderingContext2D, scene: Scene, scale: number) {
  drawRowNames(context, scene);
  drawTokens(context, scene, context.canvas.width / scale, context.canvas.height / scale);
}

function drawBands(context: CanvasRenderingContext2D, scene: Scene, width: number) {
  const { layout, view, frame, colours } = scene;
  context.fillStyle = colours.surface;
  layout.columns.forEach(({ from, to }, i) => {
    if (i % 2 === 1) return;
    const x = screenX(from, view, frame);
    context.fillRect(x, 0, screenX(to, view, frame) - x, frame.top + frame.height);
  });
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.beginPath();
  for (const { to } of layout.rows) {
    const y = Math.round(screenY(to, view, frame)) + 0.5;
    context.moveTo(frame.left, y);
    context.lineTo(width, y);
  }
  context.stroke();
}

/** Links of one strength and sign are one stroke: thousands cost a few of them. */
export function drawLinks(
  context: CanvasRenderingContext2D,
  scene: Pick<Scene, "layout" | "view" | "frame" | "colours">,
  links: LinkColumns,
  most: number,
  fade: number,
) {
  const { layout, view, frame, colours } = scene;
  const n = links.flow.length;
  const buckets = new Uint8Array(n);
  for (let i = 0; i < n; i++) {
    const flow = links.flow[i] ?? 0;
    buckets[i] = 2 * linkBucket(flow, most, i) + (flow > 0 ? 1 : 0);
  }
  const right = frame.left + frame.width;
  const bottom = frame.top + frame.height;
  for (let bucket = 0; bucket < 2 * LINK_BUCKETS; bucket++) {
    let any = false;
    for (let i = 0; i < n; i++) {
      if (buckets[i] !== bucket) continue;
      const [low, high] = [links.source[i] ?? 0, links.goal[i] ?? 0];
      const x0 = screenX(layout.x[low] ?? Number.NaN, view, frame);
      const x1 = screenX(layout.x[high] ?? Number.NaN, view, frame);
      if (!((x0 > frame.left || x1 > frame.left) && (x0 < right || x1 < right))) continue;
      const y0 = screenY(layout.y[low] ?? Number.NaN, view, frame);
      const y1 = screenY(layout.y[high] ?? Number.NaN, view, frame);
      if (!((y0 > 0 || y1 > 0) && (y0 < bottom || y1 < bottom))) continue;
      if (!any) context.beginPath();
      any = true;
      const middle = (y0 + y1) / 2;
      context.moveTo(x0, y0);
      context.bezierCurveTo(x0, middle, x1, middle, x1, y1);
    }
    if (!any) continue;
    const strong = bucket >> 1;
    const sign = bucket % 2 === 1 ? colours.positive : colours.negative;
    context.strokeStyle = `rgb(${sign} / ${linkAlpha(strong) * fade})`;
    context.lineWidth = linkWidth(strong);
    context.stroke();
  }
}

/** How large a node may be so that its neighbours in the same place stay apart. */
export const roomOf = ({ layout, view, frame }: Pick<Scene, "layout" | "view" | "frame">) =>
  Math.max(2, layout.gap * view.zoom * frame.width * 0.46);

function drawNodes(context: CanvasRenderingContext2D, scene: Scene) {
  const { nodes, layout, view, frame, colours, lit, mostNode } = scene;
  const room = roomOf(scene);
  // Weak ones first, so that what matters lies on top.
  for (let i = nodes.id.length - 1; i >= 0; i--) {
    const x = screenX(layout.x[i] ?? Number.NaN, view, frame);
    const y = screenY(layout.y[i] ?? Number.NaN, view, frame);
    if (
      !(
        x > frame.left - 20 &&
        x < frame.left + frame.width + 20 &&
        y > -20 &&
        y < frame.top + frame.height + 20
      )
    )
      continue;
    const kind = nodes.kind[i] ?? "";
    const value = nodes.attribution[i] ?? 0;
    const faded = lit !== null && !lit.has(i);
    const radius = kind === "target" ? 9 : radiusOf(value, mostNode, view.zoom, room);
    const sign = value >= 0 ? colours.positive : colours.negative;
    context.globalAlpha = faded ? 0.13 : 1;
    shape(context, kind, x, y, radius);
    context.fillStyle = kind === "error" || kind === "leaf" ? colours.ground : `rgb(${sign})`;
    context.fill();
    context.lineWidth = kind === "error" || kind === "leaf" ? 1.5 : 0.8;
    context.strokeStyle = kind === "error" || kind === "leaf" ? `rgb(${sign})` : colours.ground;
    context.stroke();
    marks(context, scene, i, x, y, radius);
  }
  context.globalAlpha = 1;
}

/** Rings around what is pinned, selected or in a group. */
function marks(
  context: CanvasRenderingContext2D,
  scene: Scene,
  i: number,
  x: number,
  y: number,
  radius: number,
) {
  const { colours, pinned, selected, group, focus } = scene;
  const ring = (size: number, colour: string, width: number, dash: number[] = []) => {
    context.beginPath();
    context.arc(x, y, radius + size, 0, 2 * Math.PI);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.setLineDash(dash);
    context.stroke();
    context.setLineDash([]);
  };
  const number = group.get(i);
  if (number !== undefined) ring(2, colours.groups[number % colours.groups.length] ?? "", 2);
  if (pinned.has(i)) ring(2, colours.text, 1.6);
  if (selected.has(i)) ring(4, colours.accent, 2, [3, 2]);
  if (i === focus) ring(4, colours.text, 2.4);
}

/** A circle is a feature, a square a token, a diamond what nothing explains, a triangle what is not traced. */
export function shape(
  context: CanvasRenderingContext2D,
  kind: string,
  x: number,
  y: number,
  r: number,
) {
  context.beginPath();
  if (kind === "feature") context.arc(x, y, r, 0, 2 * Math.PI);
  else if (kind === "error") polygon(context, x, y, r * 1.15, 4, 0);
  else if (kind === "leaf") polygon(context, x, y, r * 1.2, 3, -Math.PI / 2);
  else if (kind === "target") polygon(context, x, y, r * 1.15, 6, 0);
  else context.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
}

function polygon(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  r: number,
  n: number,
  turn: number,
) {
  for (let i = 0; i < n; i++) {
    const angle = turn + (2 * Math.PI * i) / n;
    const [px, py] = [x + r * Math.cos(angle), y + r * Math.sin(angle)];
    if (i === 0) context.moveTo(px, py);
    else context.lineTo(px, py);
  }
  context.closePath();
}

const TOKEN_FONT = "12px ui-monospace, 'DejaVu Sans Mono', monospace";
const LABEL_LETTERS = 30;
/** What stands where a label would; labels keep off the strongest nodes. */
const KEPT_FREE = 160;
type Box = readonly [number, number, number, number];

/** Labels beside nodes, the most important first; one that would cover another or a strong node is left out. */
function drawLabels(context: CanvasRenderingContext2D, scene: Scene, width: number) {
  const { layout, view, frame, colours, nodes, labelled, nameOf, mostNode, lit } = scene;
  const room = roomOf(scene);
  const placeOf = (i: number) => ({
    x: screenX(layout.x[i] ?? Number.NaN, view, frame),
    y: screenY(layout.y[i] ?? Number.NaN, view, frame),
    far: radiusOf(nodes.attribution[i] ?? 0, mostNode, view.zoom, room) + 4,
  });
  const standing = (lit === null ? labelled : [...lit]).slice(0, KEPT_FREE).map((i): Box => {
    const { x, y, far } = placeOf(i);
    return [x - far + 3, y - far + 3, x + far - 3, y + far - 3];
  });
  const taken: Box[] = [];
  context.font = "11.5px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "left";
  for (const i of labelled.slice(0, scene.nLabels)) {
    const { x, y, far } = placeOf(i);
    if (!(x > frame.left && x < width && y > 0 && y < frame.top + frame.height)) continue;
    const text = clipped(nameOf(i), LABEL_LETTERS);
    const wide = context.measureText(text).width;
    const sides: Box[] = [
      [x + far, y - 7, x + far + wide, y + 7],
      [x - far - wide, y - 7, x - far, y + 7],
      [x - wide / 2, y - far - 13, x + wide / 2, y - far + 1],
      [x - wide / 2, y + far - 1, x + wide / 2, y + far + 13],
    ];
    const box = sides.find(
      (one) =>
        one[0] > frame.left &&
        one[2] < width - 2 &&
        one[1] > 0 &&
        !taken.some(overlaps(one)) &&
        !standing.some(overlaps(one)),
    );
    if (!box) continue;
    taken.push(box);
    context.lineWidth = 3.5;
    context.lineJoin = "round";
    context.strokeStyle = colours.ground;
    context.strokeText(text, box[0], (box[1] + box[3]) / 2);
    context.fillStyle = colours.text;
    context.fillText(text, box[0], (box[1] + box[3]) / 2);
  }
}

const overlaps = (a: Box) => (b: Box) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

/** So many letters, whole characters. */
export function clipped(text: string, most: number): string {
  const letters = Array.from(text);
  return letters.length <= most ? text : `${letters.slice(0, most - 1).join("")}…`;
}

function drawRowNames(context: CanvasRenderingContext2D, scene: Scene) {
  const { layout, view, frame, colours, rowNames } = scene;
  context.fillStyle = colours.ground;
  context.fillRect(0, 0, frame.left, frame.top + frame.height + 60);
  context.font = "11.5px system-ui, sans-serif";
  context.fillStyle = colours.muted;
  context.textAlign = "right";
  context.textBaseline = "middle";
  let before = Infinity;
  // From below, since there the rows that all paths begin at are.
  for (let i = 0; i < layout.rows.length; i++) {
    const row = layout.rows[i];
    if (!row) continue;
    const y = screenY((row.from + row.to) / 2, view, frame);
    if (y < 6 || y > frame.top + frame.height - 4 || before - y < 13) continue;
    before = y;
    context.fillText(clipped(rowNames[i] ?? "", 16), frame.left - 8, y);
  }
}

/** The prompt below the columns; where they are narrow it leans. */
function drawTokens(
  context: CanvasRenderingContext2D,
  scene: Scene,
  width: number,
  height: number,
) {
  const { layout, view, frame, colours, tokens } = scene;
  const top = frame.top + frame.height;
  context.fillStyle = colours.ground;
  context.fillRect(frame.left, top, width - frame.left, height - top);
  context.save();
  context.beginPath();
  context.rect(frame.left - 56, top, width - frame.left + 56, height - top);
  context.clip();
  context.font = TOKEN_FONT;
  context.textBaseline = "middle";
  let end = -Infinity;
  const letter = context.measureText("m").width;
  const wide = (band: Band) => (band.to - band.from) * view.zoom * frame.width;
  // Narrow columns would leave a letter or two of each token, so there the text leans.
  const leans = layout.columns.some(
    (band) => wide(band) < Math.min(5, Array.from(tokens[band.at] ?? "").length) * letter + 6,
  );
  for (const band of layout.columns) {
    const x = screenX((band.from + band.to) / 2, view, frame);
    if (x < frame.left || x > width) continue;
    const text = tokens[band.at] ?? "";
    const focused = scene.focus !== null && scene.nodes.position[scene.focus] === band.at;
    context.fillStyle = focused ? colours.text : colours.muted;
    if (leans) {
      if (x - end < 13) continue;
      end = x;
      context.save();
      context.translate(x + 3, top + 8);
      context.rotate(-Math.PI / 4);
      context.textAlign = "right";
      context.fillText(clipped(text, 8), 0, 0);
      context.restore();
    } else {
      context.textAlign = "center";
      const letters = Math.max(2, Math.floor((wide(band) - 4) / letter));
      context.fillText(clipped(text, letters), x, top + 16);
      context.font = "10.5px system-ui, sans-serif";
      context.fillText(String(band.at), x, top + 32);
      context.font = TOKEN_FONT;
    }
  }
  context.restore();
}
