import { useState } from "react";
import { useLocation } from "wouter";
import type { Schemas } from "../../api/client";
import { count } from "../../ui/format";
import { Empty } from "../../ui/states";
import { type Asked, splitFeature, writeAsked } from "./address";
import { everywhere } from "./choice";
import { DictionaryPicker } from "./DictionaryPicker";
import { Found } from "./Found";

interface Props {
  asked: Asked;
  lines: Schemas["DictionaryLine"][];
}

/** Features whose decoder rows point the same way as one feature's, in all dictionaries. */
export function NearSearch({ asked, lines }: Props) {
  const withAtlas = lines.filter((line) => line.has_atlas);
  const first = splitFeature(asked.query);
  const [dictionary, setDictionary] = useState(first.dictionary || (withAtlas[0]?.id ?? ""));
  const [latent, setLatent] = useState(first.latent);
  const [, navigate] = useLocation();
  const line = lines.find(({ id }) => id === dictionary);
  const go = (dictionaries: string[]) => {
    const query = latent === "" ? "" : `${dictionary}/${latent}`;
    const { to, state } = writeAsked({ kind: "near", query, dictionaries });
    navigate(to, { state });
  };
  if (withAtlas.length === 0)
    return (
      <Empty>
        Neighbours are found by the decoder rows that an atlas holds, and no dictionary has one yet:{" "}
        <code>lmscope atlas build RUN</code> makes one.
      </Empty>
    );
  return (
    <>
      <form
        className="panel search-form"
        role="search"
        aria-label="Features near a feature"
        onSubmit={(event) => {
          event.preventDefault();
          go(asked.dictionaries);
        }}
      >
        <label className="grow">
          Dictionary
          <select value={dictionary} onChange={(event) => setDictionary(event.target.value)}>
            {withAtlas.map((one) => (
              <option key={one.id} value={one.id}>
                {one.name}
              </option>
            ))}
          </select>
        </label>
        <label>
          Latent
          <input
            type="number"
            min={0}
            max={line ? line.n_latents - 1 : undefined}
            required
            value={latent}
            placeholder={line ? `0 to ${count(line.n_latents - 1)}` : undefined}
            onChange={(event) => setLatent(event.target.value)}
          />
        </label>
        <button type="submit" className="primary">
          Search
        </button>
        <DictionaryPicker
          lines={withAtlas}
          chosen={asked.dictionaries}
          onChange={go}
          whenNone={everywhere(withAtlas.length)}
        />
      </form>
      {asked.query === "" ? (
        <Empty>
          Finds the features whose decoder rows have the largest cosine with one feature's: the same
          direction in another layer, or in a wider dictionary. Only dictionaries that write vectors
          of the same width can be compared.
        </Empty>
      ) : (
        <Found asked={asked} />
      )}
    </>
  );
}
