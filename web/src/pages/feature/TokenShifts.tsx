import type { Schemas } from "../../api/client";
import { share } from "../../ui/format";
import { TokenChip } from "./TokenChip";

interface Props {
  title: string;
  shifts: Schemas["TokenShift"][];
}

/** Probabilities of next tokens, before and after, as pairs of bars. */
export function TokenShifts({ title, shifts }: Props) {
  const most = Math.max(...shifts.flatMap((one) => [one.clean, one.edited]), 1e-12);
  const width = (x: number) => ({ width: `${(100 * x) / most}%` });
  return (
    <table className="shift-table">
      <thead>
        <tr>
          <th scope="col">{title}</th>
          <th scope="col" className="number">
            unedited
          </th>
          <th scope="col" className="number">
            steered
          </th>
          <th scope="col">
            <span className="off-screen">as bars</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {shifts.map((one) => (
          <tr key={one.id}>
            <td>
              <TokenChip text={one.text} id={one.id} />
            </td>
            <td className="number">{share(one.clean)}</td>
            <td className="number">{share(one.edited)}</td>
            <td className="shift-bars" aria-hidden="true">
              <span className="shift-bar before" style={width(one.clean)} />
              <span className="shift-bar after" style={width(one.edited)} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
