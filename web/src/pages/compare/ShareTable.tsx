import type { Schemas } from "../../api/client";
import { fixed, share } from "../../ui/format";

/** Shares and mean cosines, each with a bar, and a mark where chance would be. */
export function ShareTable({ shares }: { shares: Schemas["Share"][] }) {
  return (
    <table className="shares">
      <thead>
        <tr>
          <th scope="col">figure</th>
          <th scope="col" className="number">
            found
          </th>
          <th scope="col" className="number">
            by chance
          </th>
          <th scope="col">
            <span className="off-screen">as a bar</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {shares.map((one) => (
          <tr key={one.name}>
            <th scope="row">
              {one.name}
              <span className="meaning">{one.meaning}</span>
            </th>
            <td className="number">{show(one.name, one.value)}</td>
            <td className="number muted">{show(one.name, one.null)}</td>
            <td className="share-cell">
              <Bar {...one} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Bar({ value, null: chance }: Schemas["Share"]) {
  const place = (x: number) => `${100 * Math.min(1, Math.max(0, x))}%`;
  return (
    <svg className="share-bar" aria-hidden="true">
      <rect className="share-ground" width="100%" height="100%" />
      <rect className="share-value" width={place(value)} height="100%" />
      <line className="share-chance" x1={place(chance)} x2={place(chance)} y1="0" y2="100%" />
    </svg>
  );
}

/** Cosines are no shares. */
const show = (name: string, x: number) => (name.includes("cosine") ? fixed(x, 3) : share(x));
