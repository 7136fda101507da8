import type { Schemas } from "../../api/client";
import { FeatureLink } from "../../ui/FeatureLink";
import { count, number } from "../../ui/format";
import { visible } from "../../ui/glyphs";
import { columnShare } from "./choice";
import { shareOfRecord } from "./firing";
import { Trace } from "./Trace";

interface Props {
  dictionary: Schemas["DictionaryLine"];
  tokens: Schemas["ProbedToken"][];
  rows: Schemas["FiringLatent"][];
  /** Place of the token that the rows are ordered by. */
  token: number | null;
  pinned: number | null;
  onPin: (latent: number) => void;
  onPoint: (latent: number | null) => void;
}

/** Latents that fire on a text, each with its trace over the text. */
export function FiringTable({ dictionary, tokens, rows, token, pinned, onPin, onPoint }: Props) {
  const caption = `Latents of ${dictionary.name} that fire on the text`;
  return (
    <div className="table-scroll" role="region" aria-label={caption} tabIndex={0}>
      <table className="firing" onPointerLeave={() => onPoint(null)}>
        <caption className="off-screen">{caption}</caption>
        <thead>
          <tr>
            <th scope="col">feature</th>
            <th scope="col" title="Its activations from the first token to the last.">
              over the text
            </th>
            {token !== null && (
              <th scope="col" className="number" title="Its activation on the chosen token.">
                there
              </th>
            )}
            <th scope="col" title="The token on which it is largest.">
              peaks on
            </th>
            <th scope="col" className="number" title="Its largest activation on the text.">
              largest
            </th>
            <th
              scope="col"
              className="number"
              title="The largest activation on the text as a share of the largest in the atlas."
            >
              of record
            </th>
            <th scope="col" className="number" title="Tokens of the text on which it fires.">
              tokens
            </th>
            <th
              scope="col"
              className="number"
              title="Share of the atlas's tokens on which it fires."
            >
              density
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.latent} onPointerEnter={() => onPoint(row.latent)}>
              <td>
                <FeatureLink dictionary={dictionary.id} {...row} />
              </td>
              <td>
                <button
                  type="button"
                  className="trace"
                  aria-pressed={row.latent === pinned}
                  aria-label={`Shade the text by latent ${row.latent}`}
                  title="Keep the text shaded by this latent"
                  onClick={() => onPin(row.latent)}
                >
                  <Trace values={row.values} full={row.record_max ?? row.max} at={token} />
                </button>
              </td>
              {token !== null && <td className="number">{number(row.values[token])}</td>}
              <td>
                <bdi className="mono peak-token">
                  {visible(tokens[row.peak]?.text ?? "", {
                    showWhitespace: true,
                    breakLines: false,
                  })}
                </bdi>
              </td>
              <td className="number">{number(row.max)}</td>
              <td className="number">{columnShare(shareOfRecord(row), 1)}</td>
              <td className="number">{count(row.n_tokens)}</td>
              <td className="number">{columnShare(row.density)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
