import { useState } from "react";
import { useLocation } from "wouter";
import type { Schemas } from "../../api/client";
import { Empty } from "../../ui/states";
import { type Asked, writeAsked } from "./address";
import { everywhere } from "./choice";
import { DictionaryPicker } from "./DictionaryPicker";
import { Found } from "./Found";

interface Props {
  asked: Asked;
  kind: "label" | "token";
  lines: Schemas["DictionaryLine"][];
}

const HELP = {
  label: {
    field: "Words of a label",
    example: "e.g. names of rivers",
    text: "Finds features by what their labels say, over every dictionary that was explained. Several words narrow the search. A latent's number, or DICTIONARY/LATENT, goes straight there.",
  },
  token: {
    field: "A token",
    example: "e.g. river",
    text: "Finds features that fire on a token of the vocabulary, the ones that fire on it most first. A space in front matters: “river” and “ river” are two tokens.",
  },
};

/** Features by the words of their labels, or by a token they fire on. */
export function FeatureSearch({ asked, kind, lines }: Props) {
  const [query, setQuery] = useState(asked.query);
  const [, navigate] = useLocation();
  const searched = lines.filter((line) => line.has_atlas);
  const go = (next: Asked) => {
    const { to, state } = writeAsked(next);
    navigate(to, { state });
  };
  if (searched.length === 0)
    return (
      <Empty>
        No dictionary has an atlas yet. <code>lmscope atlas build RUN</code> makes one, and{" "}
        <code>lmscope explain RUN</code> writes its labels.
      </Empty>
    );
  return (
    <>
      <form
        className="panel search-form"
        role="search"
        aria-label={`Features by ${kind}`}
        onSubmit={(event) => {
          event.preventDefault();
          if (query !== "") go({ ...asked, query });
        }}
      >
        <label className="grow">
          {HELP[kind].field}
          <input
            type="search"
            value={query}
            placeholder={HELP[kind].example}
            onChange={(event) => setQuery(event.target.value)}
          />
        </label>
        <button type="submit" className="primary">
          Search
        </button>
        <DictionaryPicker
          lines={searched}
          chosen={asked.dictionaries}
          onChange={(dictionaries) => go({ kind, query, dictionaries })}
          whenNone={everywhere(searched.length)}
        />
      </form>
      {asked.query === "" ? <Empty>{HELP[kind].text}</Empty> : <Found asked={asked} />}
    </>
  );
}
