import { COLUMNS } from "./columns";
import type { Order } from "./listQuery";

interface Props {
  order: Order;
  /** What the list is ranked by, where it is none of the columns. */
  valueName: string | null;
  onSort: (column: string) => void;
}

/** Titles of the columns; a click sorts, another one turns the order round. */
export function FeatureHeader({ order, valueName, onSort }: Props) {
  const titles = [
    { id: "latent", title: "Feature", info: "Number and label of the latent.", wide: false },
    ...COLUMNS,
  ];
  return (
    <div className="feature-grid feature-header" role="group" aria-label="Sort the features">
      <span />
      {titles.map(({ id, title, info, wide }) => {
        const up = order === id;
        const down = order === `-${id}`;
        // A list that is ranked by something else is in the order "latent" by name only.
        const holds = (up || down) && !(id === "latent" && valueName !== null);
        const says = holds ? `, sorted ${down ? "from the largest" : "from the smallest"}` : "";
        return (
          <span key={id} className={cellClass(id, wide)}>
            <button
              type="button"
              className="sort"
              title={info}
              aria-label={`Sort by ${title}${says}`}
              onClick={() => onSort(id)}
            >
              {title}
              <span aria-hidden="true" className={holds ? "sort-sign on" : "sort-sign"}>
                {holds ? (down ? "▼" : "▲") : "↕"}
              </span>
            </button>
          </span>
        );
      })}
      {valueName && <span className="number">{valueName}</span>}
      <span className="wide" title="Text of the token at which it peaks most often.">
        Peak
      </span>
    </div>
  );
}

const cellClass = (id: string, wide: boolean) =>
  [id === "latent" ? "" : "number", wide ? "wide" : ""].join(" ").trim() || undefined;
