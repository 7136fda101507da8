import { useRef } from "react";
import { type PassageMode, placeOf, type Section } from "./logic";
import { PassageRow } from "./PassageRow";
import { useAlignedPeaks } from "./useAlignedPeaks";

interface Props {
  section: Section;
  /** Places of those that the label says nothing of. */
  against: ReadonlySet<string>;
  /** The activation that is shaded in full. */
  full: number;
  mode: PassageMode;
  blanks: boolean;
}

/** One group of passages. */
export function PassageList({ section, against, full, mode, blanks }: Props) {
  const list = useRef<HTMLOListElement>(null);
  useAlignedPeaks(list, `${mode} ${blanks} ${section.key}`, section.passages);
  return (
    <section className={`passages ${section.kind}`} aria-label={section.title}>
      <h3>
        {section.kind === "interval" ? "Peaks " : ""}
        {section.title} <span className="muted">{section.info}</span>
      </h3>
      <ol ref={list}>
        {section.passages.map((passage) => (
          <PassageRow
            key={placeOf(passage)}
            passage={passage}
            against={against.has(placeOf(passage))}
            full={full}
            mode={mode}
            blanks={blanks}
          />
        ))}
      </ol>
    </section>
  );
}
