import { type View, WHOLE, zoomed } from "./squareView";

const STEP = 1.5;

/** In, out, and all of it. */
export function ZoomButtons({ view, onView }: { view: View; onView: (view: View) => void }) {
  return (
    <div className="map-buttons">
      <button type="button" aria-label="Zoom in" onClick={() => onView(zoomed(view, STEP))}>
        +
      </button>
      <button type="button" aria-label="Zoom out" onClick={() => onView(zoomed(view, 1 / STEP))}>
        −
      </button>
      <button type="button" disabled={view.zoom === 1} onClick={() => onView(WHOLE)}>
        All
      </button>
    </div>
  );
}
