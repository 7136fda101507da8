import { ORDERS, type Order } from "./firing";

interface Props {
  order: Order;
  setOrder: (order: Order) => void;
  maxDensity: number | null;
  setMaxDensity: (density: number | null) => void;
}

const LIMITS = [0.1, 0.03, 0.01, 0.003, 0.001];

/** How the latents that fire are ordered, and which are left out. */
export function FiringControls({ order, setOrder, maxDensity, setMaxDensity }: Props) {
  return (
    <div className="firing-controls">
      <label>
        Order by{" "}
        <select value={order} onChange={(event) => setOrder(event.target.value as Order)}>
          {ORDERS.map(({ value, name }) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label title="Latents that fire on much of all text seldom say what is special about this one.">
        Fires on at most{" "}
        <select
          value={maxDensity ?? ""}
          onChange={(event) =>
            setMaxDensity(event.target.value === "" ? null : Number(event.target.value))
          }
        >
          <option value="">any share</option>
          {LIMITS.map((limit) => (
            <option key={limit} value={limit}>
              {Number((100 * limit).toPrecision(1))} %
            </option>
          ))}
        </select>{" "}
        of all tokens
      </label>
    </div>
  );
}
