import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { client, data } from "../../api/client";
import { count, share } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { Empty, Failed, Loading } from "../../ui/states";
import { useTheme } from "../../ui/useTheme";
import { type ColourBy, ramp } from "./drawMap";
import { MapCanvas } from "./MapCanvas";
import { matches } from "./mapView";
import "../grid/HeatMap.css";
import "./Map.css";

/** The latents as points: those whose decoder rows are alike lie near one another. */
export function MapTab({ id, atlas }: { id: string; atlas: string | null }) {
  const [by, setBy] = useState<ColourBy>("density");
  const [words, setWords] = useState("");
  const { theme } = useTheme();
  const {
    data: map,
    error,
    refetch,
  } = useQuery({
    queryKey: ["dictionaries", id, "map", atlas],
    queryFn: () =>
      data(
        client.GET("/api/dictionaries/{dictionary}/map", {
          params: { path: { dictionary: id }, query: atlas ? { atlas } : {} },
        }),
      ),
    staleTime: Infinity,
  });
  const found = useMemo(() => (map ? matches(map, words) : []), [map, words]);
  if (error) return <Failed error={error} retry={() => void refetch()} />;
  if (!map) return <Loading what="the map; the first time it is computed from the decoder rows" />;
  if (map.latents.length === 0) return <Empty>There is no latent to draw.</Empty>;
  const colours = ramp(theme);
  const explained = map.explained_share;
  return (
    <Panel
      title={`Map of ${count(map.latents.length)} latents`}
      info={`Two coordinates of each decoder row (${map.method}). Latents that lie together write similar directions; distances between far ones say little${explained ? `. The two axes explain ${share(explained.reduce((a, b) => a + b, 0))} of the variance` : ""}.`}
      actions={
        <>
          <label>
            Colour{" "}
            <select value={by} onChange={(event) => setBy(event.target.value as ColourBy)}>
              <option value="density">how often it fires</option>
              <option value="label">label known</option>
            </select>
          </label>
          <input
            type="search"
            aria-label="Find latents on the map by number or label"
            placeholder="Number or words"
            value={words}
            onChange={(event) => setWords(event.target.value)}
          />
          <span role="status" className="map-found number">
            {words.trim() === "" ? "" : `${count(found.length)} found`}
          </span>
        </>
      }
    >
      <MapCanvas id={id} map={map} found={found} by={by} colours={colours} />
      <div className="map-legend">
        <Legend by={by} colours={colours} />
        <span className="muted">
          Click a point to open its feature. Drag to move, Ctrl and wheel to zoom; with the
          keyboard, arrows go from point to point, + and − zoom, Enter opens.
        </span>
      </div>
    </Panel>
  );
}

function Legend({ by, colours }: { by: ColourBy; colours: string[] }) {
  const [weak, strong] = [colours[0], colours.at(-1)];
  if (by === "label")
    return (
      <span className="map-keys">
        <span className="map-dot" style={{ background: strong }} /> known
        <span className="map-dot" style={{ background: weak }} /> not known, or none
      </span>
    );
  return (
    <span className="map-keys">
      rare
      <span
        className="colour-ramp"
        style={{ background: `linear-gradient(to right, ${colours.join(", ")})` }}
      />
      frequent
    </span>
  );
}
