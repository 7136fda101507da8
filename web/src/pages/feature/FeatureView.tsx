import { useRef, useState } from "react";
import { useSearch } from "wouter";
import type { Schemas } from "../../api/client";
import { Empty } from "../../ui/states";
import { useKeys } from "../../ui/useKeys";
import { ActivationPanel } from "./ActivationPanel";
import { FeatureHead } from "./FeatureHead";
import { FiguresPanel } from "./FiguresPanel";
import { LogitPanel } from "./LogitPanel";
import { NotePanel } from "./NotePanel";
import { PassagePanel } from "./PassagePanel";
import { RelatedPanel } from "./RelatedPanel";
import { TokenPanel } from "./TokenPanel";
import { TryPanel, type TryTab } from "./TryPanel";
import { useNote } from "./useNote";
import { useStep } from "./useStep";

interface Props {
  page: Schemas["FeaturePage"];
  /** The feature that is asked for; the page before is shown until it is here. */
  latent: number;
  stale: boolean;
}

/** The page of a feature, its keys, and the way to the next one. */
export function FeatureView({ page, latent, stale }: Props) {
  const search = new URLSearchParams(useSearch());
  const embedded = search.get("embed") === "1";
  const [tab, setTab] = useState<TryTab>("test");
  const [section, setSection] = useState("all");
  const step = useStep(page, latent);
  const note = useNote(page);
  const passages = useRef<HTMLDivElement>(null);
  const box = useRef<HTMLTextAreaElement>(null);
  const noteBox = useRef<HTMLTextAreaElement>(null);
  const open = (chosen: TryTab) => {
    setTab(chosen);
    // The box of the other tab is drawn first.
    requestAnimationFrame(() => box.current?.focus());
  };
  const star = () => {
    if (note.possible) note.change({ star: !note.note.star }, { atOnce: true });
  };
  useKeys({
    j: { does: "next feature", run: () => step.go(step.next) },
    k: { does: "previous feature", run: () => step.go(step.previous) },
    s: { does: "star the feature", run: star },
    n: { does: "write a note", run: () => noteBox.current?.focus() },
    t: { does: "test the feature on a text", run: () => open("test") },
    p: { does: "steer with the feature", run: () => open("steer") },
  });
  const showMissed = () => {
    setSection("missed");
    passages.current?.scrollIntoView({ block: "start" });
  };
  return (
    <article className="feature-page stack" aria-busy={stale}>
      <FeatureHead
        page={page}
        note={note}
        onStar={star}
        step={step}
        embedded={embedded}
        showMissed={showMissed}
      />
      <div className="feature-columns">
        <div className="stack">
          {!embedded && (
            <TryPanel page={page} tab={tab} onTab={setTab} box={box} text={search.get("text")} />
          )}
          <div ref={passages} className="feature-passages">
            {page.groups.length === 0 ? (
              <section className="panel">
                <Empty>
                  It never fires on the text of this atlas: it is dead, so there is nothing to read.
                  On other text it may; the test box tells.
                </Empty>
              </section>
            ) : (
              <PassagePanel page={page} section={section} onSection={setSection} />
            )}
          </div>
          <div className="feature-pair">
            <TokenPanel page={page} />
            <RelatedPanel page={page} />
          </div>
        </div>
        <div className="stack">
          <FiguresPanel page={page} />
          <LogitPanel page={page} />
          <ActivationPanel page={page} />
          {!embedded && <NotePanel note={note} box={noteBox} />}
        </div>
      </div>
    </article>
  );
}
