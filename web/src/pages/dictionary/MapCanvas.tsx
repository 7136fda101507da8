import { useEffect, useMemo, useRef, useState } from "react";
import { useLocation, useSearch } from "wouter";
import { share } from "../../ui/format";
import { Label } from "../../ui/Label";
import { moved, showing, towards, type View, WHOLE, zoomed } from "../../ui/squareView";
import { useWidth } from "../../ui/useWidth";
import { ZoomButtons } from "../../ui/ZoomButtons";
import { featureAddress } from "../feature/logic";
import { bucketsOf, type ColourBy, draw, MARGIN, placeOf } from "./drawMap";
import { type FeatureMap, nearest, pointsOf } from "./mapView";

interface Props {
  id: string;
  map: FeatureMap;
  found: readonly number[];
  by: ColourBy;
  colours: string[];
}

const REACH = 10;
const CLICK = 4;

/** The points on a canvas; what is under the pointer is named beside it. */
export function MapCanvas({ id, map, found, by, colours }: Props) {
  const [box, width] = useWidth<HTMLDivElement>(800);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [view, setView] = useState<View>(WHOLE);
  const [over, setOver] = useState<number | null>(null);
  const drag = useRef<{ x: number; y: number; far: number } | null>(null);
  const [, navigate] = useLocation();
  const search = useSearch();
  const points = useMemo(() => pointsOf(map), [map]);
  const buckets = useMemo(() => bucketsOf(map, by), [map, by]);
  const height = Math.round(Math.min(620, Math.max(320, width * 0.62)));
  const open = (i: number) => navigate(featureAddress(id, map.latents[i] ?? 0, search));
  useEffect(() => {
    const own = canvas.current;
    if (!own) return;
    const frame = requestAnimationFrame(() => {
      const scale = window.devicePixelRatio || 1;
      // Setting a size clears the canvas, so only where it changed.
      if (own.width !== Math.round(width * scale)) own.width = Math.round(width * scale);
      if (own.height !== Math.round(height * scale)) own.height = Math.round(height * scale);
      const ink = getComputedStyle(own).color;
      draw(own, { points, buckets, colours, view, found, over, ink }, scale);
    });
    return () => cancelAnimationFrame(frame);
  }, [points, buckets, colours, view, found, over, width, height]);
  useEffect(() => {
    const own = canvas.current;
    // React listens to the wheel passively, and so could not keep the page from zooming.
    const wheel = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const { left, top } = (event.target as Element).getBoundingClientRect();
      const x = (event.clientX - left - MARGIN) / (width - 2 * MARGIN);
      const y = (event.clientY - top - MARGIN) / (height - 2 * MARGIN);
      setView((before) => zoomed(before, 2 ** (-event.deltaY / 240), x, y));
    };
    own?.addEventListener("wheel", wheel, { passive: false });
    return () => own?.removeEventListener("wheel", wheel);
  }, [width, height]);
  const pointAt = (event: React.PointerEvent) => {
    const { left, top } = event.currentTarget.getBoundingClientRect();
    const inner = { x: width - 2 * MARGIN, y: height - 2 * MARGIN };
    const x = view.left + (event.clientX - left - MARGIN) / inner.x / view.zoom;
    const y = view.top + (event.clientY - top - MARGIN) / inner.y / view.zoom;
    return nearest(points, x, y, REACH / Math.min(inner.x, inner.y) / view.zoom);
  };
  const onMove = (event: React.PointerEvent) => {
    const from = drag.current;
    if (!from) return setOver(pointAt(event));
    const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
    const far = from.far + Math.hypot(dx, dy);
    drag.current = { x: event.clientX, y: event.clientY, far };
    if (far <= CLICK) return;
    setOver(null);
    setView((before) => moved(before, dx / width, dy / height));
  };
  const onUp = (event: React.PointerEvent) => {
    const far = drag.current?.far ?? 0;
    drag.current = null;
    const point = pointAt(event);
    if (far <= CLICK && point !== null) open(point);
  };
  const go = (i: number) => {
    setOver(i);
    setView((before) => showing(before, points.x[i] ?? 0, points.y[i] ?? 0));
  };
  const onKey = (event: React.KeyboardEvent) => {
    const next = towards(points, over ?? found[0] ?? 0, event.key);
    if (event.key.startsWith("Arrow")) {
      if (next !== null) go(next);
    } else if (event.key === "+" || event.key === "=") setView(zoomed(view, 1.5));
    else if (event.key === "-") setView(zoomed(view, 1 / 1.5));
    else if (event.key === "Enter" && over !== null) open(over);
    else return;
    event.preventDefault();
  };
  const label = over === null ? "" : (map.labels[over] ?? "");
  const at = over === null ? null : placeOf(points, over, view, width, height);
  return (
    <div className="map-box" ref={box}>
      <canvas
        ref={canvas}
        className={over === null ? "map-canvas" : "map-canvas over"}
        style={{ width, height }}
        role="application"
        aria-roledescription="map"
        aria-label="Map of the latents. Arrow keys go from point to point, Enter opens the feature."
        tabIndex={0}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          event.currentTarget.setPointerCapture(event.pointerId);
          drag.current = { x: event.clientX, y: event.clientY, far: 0 };
        }}
        onPointerMove={onMove}
        onPointerUp={onUp}
        onPointerCancel={() => (drag.current = null)}
        onPointerLeave={() => setOver(null)}
        onKeyDown={onKey}
      />
      <ZoomButtons view={view} onView={setView} />
      <div
        className="map-tip"
        aria-live="polite"
        hidden={at === null}
        style={at ? tipPlace(at, width, height) : {}}
      >
        {over !== null && (
          <>
            <span className="mono feature-number">{map.latents[over]}</span>{" "}
            <Label label={label} known={label !== "" && label !== "not known"} />
            {map.density && (
              <div className="muted">fires on {share(map.density[over])} of the tokens</div>
            )}
          </>
        )}
      </div>
    </div>
  );
}

/** Beside the point, on the side that has room. */
function tipPlace(at: { x: number; y: number }, width: number, height: number) {
  return {
    ...(at.x < width / 2 ? { left: at.x + 14 } : { right: width - at.x + 14 }),
    ...(at.y < height / 2 ? { top: at.y + 10 } : { bottom: height - at.y + 10 }),
  };
}
