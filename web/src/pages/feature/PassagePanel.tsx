import { type ReactNode, useState } from "react";
import type { Schemas } from "../../api/client";
import { Panel } from "../../ui/Panel";
import { Tabs } from "../../ui/Tabs";
import { useKeys } from "../../ui/useKeys";
import { type PassageMode, placeOf, type Section, sections } from "./logic";
import { PassageList } from "./PassageList";

const MODES: [PassageMode, string, string][] = [
  ["snippet", "Aligned", "One line each, with the strongest tokens below each other"],
  ["full", "Full", "The whole stretch"],
  ["lines", "Lines", "The whole stretch with its own line breaks"],
];

const NOTHING: ReadonlySet<string> = new Set();

interface Props {
  page: Schemas["FeaturePage"];
  section: string;
  onSection: (section: string) => void;
}

/** The text on which it fires: the strongest, some of every strength, and what speaks against the label. */
export function PassagePanel({ page, section, onSection }: Props) {
  const [mode, setMode] = useState<PassageMode>("snippet");
  const [blanks, setBlanks] = useState(false);
  useKeys({
    w: { does: "show or hide blanks in text", run: () => setBlanks((on) => !on) },
    m: {
      does: "next way to show text",
      run: () =>
        setMode((now) => {
          const at = MODES.findIndex(([one]) => one === now);
          return MODES[(at + 1) % MODES.length]?.[0] ?? "snippet";
        }),
    },
  });
  const found = sections(page);
  const against = new Set(page.missed.map(placeOf));
  const list = (shown: Section) => (
    <PassageList
      key={shown.key}
      section={shown}
      against={shown.kind === "missed" ? NOTHING : against}
      full={page.max}
      mode={mode}
      blanks={blanks}
    />
  );
  const tab = (id: string, title: ReactNode, content: ReactNode) => ({ id, title, content });
  return (
    <Panel
      title="Text"
      info="Stretches of the frozen corpus, shaded by activation: the full shade is the feature’s largest one anywhere. The strongest show what is extreme, the intervals what is usual. Stretches marked held out were never shown to an explainer."
      actions={
        <>
          <span className="segments" role="group" aria-label="How text is shown">
            {MODES.map(([id, name, meaning]) => (
              <button
                key={id}
                type="button"
                className="small"
                aria-pressed={mode === id}
                title={meaning}
                onClick={() => setMode(id)}
              >
                {name}
              </button>
            ))}
          </span>
          <button
            type="button"
            className="small"
            aria-pressed={blanks}
            title="Show spaces, tabs and line breaks as signs (w)"
            onClick={() => setBlanks(!blanks)}
          >
            <span aria-hidden="true">·↵</span> Blanks
          </button>
        </>
      }
    >
      <Tabs
        label="Groups of text"
        selected={found.some(({ key }) => key === section) ? section : "all"}
        onSelect={onSection}
        tabs={[
          tab("all", "All", <div className="stack">{found.map(list)}</div>),
          ...found.map((one) =>
            tab(
              one.key,
              <>
                {one.kind === "missed" && <span aria-hidden="true">≠ </span>}
                {one.title} <span className="tab-count">{one.passages.length}</span>
              </>,
              list(one),
            ),
          ),
        ]}
      />
    </Panel>
  );
}
