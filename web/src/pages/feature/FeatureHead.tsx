import type { Schemas } from "../../api/client";
import { CopyButton } from "../../ui/CopyButton";
import { DictionaryName } from "../../ui/DictionaryName";
import { ProvenanceDrawer } from "../../ui/ProvenanceDrawer";
import { FeatureTitle } from "./FeatureTitle";
import { ScorePart } from "./ScorePart";
import { StepBar } from "./StepBar";
import type { NoteState } from "./useNote";
import type { Step } from "./useStep";

interface Props {
  page: Schemas["FeaturePage"];
  note: NoteState;
  onStar: () => void;
  step: Step;
  embedded: boolean;
  showMissed: () => void;
}

/** Which feature it is, what it may mean, and what that rests on. */
export function FeatureHead({ page, note, onStar, step, embedded, showMissed }: Props) {
  const here = window.location.origin + step.address(page.latent);
  const { star } = note.note;
  return (
    <header className="feature-head panel">
      <div className="feature-bar">
        <div className="feature-where">
          {page.dictionary.model && <span className="muted">{page.dictionary.model}</span>}
          <DictionaryName line={page.dictionary} />
        </div>
        <StepBar page={page} step={step} />
        {embedded ? (
          <a href={here.replace(/[?&]embed=1/, "")} target="_blank" rel="noreferrer">
            Open in lmscope
          </a>
        ) : (
          <div className="feature-actions">
            <button
              type="button"
              className={star ? "star on" : "star"}
              aria-pressed={star}
              disabled={!note.possible}
              title={
                note.possible
                  ? "Star this feature (s)"
                  : "This server is read only: stars and notes cannot be kept"
              }
              onClick={onStar}
            >
              <span aria-hidden="true">{star ? "★" : "☆"}</span> {star ? "Starred" : "Star"}
            </button>
            <CopyButton text={here} name="Copy link" />
            <a
              className="as-button"
              href={`/api${step.address(page.latent)}`}
              title="All of this page as JSON"
            >
              JSON
            </a>
            <ProvenanceDrawer provenance={page.provenance} />
          </div>
        )}
      </div>
      <div className="feature-claim">
        <FeatureTitle page={page} showMissed={showMissed} />
        {page.sources[0] && <ScorePart source={page.sources[0]} />}
      </div>
    </header>
  );
}
