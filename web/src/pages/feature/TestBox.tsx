import { type RefObject, useEffect, useRef } from "react";
import type { Schemas } from "../../api/client";
import { Failed } from "../../ui/states";
import { GrowingBox } from "./GrowingBox";
import { findLatent } from "./probing";
import { TestResult } from "./TestResult";
import type { Probe } from "./useProbe";
import { WorkerNote } from "./WorkerNote";

interface Props {
  page: Schemas["FeaturePage"];
  box: RefObject<HTMLTextAreaElement | null>;
  text: string;
  onText: (text: string) => void;
  probe: Probe;
}

/** A text that is read faster than this is read anew for each feature that one goes to. */
const QUICK_S = 1;
/** So long somebody stays with a feature before it is asked about. */
const STAY_MS = 250;

/** Any text of one's own, read by the model: where does the feature fire? */
export function TestBox({ page, box, text, onText, probe }: Props) {
  const { reading, read, isReading, error } = probe;
  const ask = () => {
    if (text !== "" && !isReading) read(text);
  };
  const first = useRef(text);
  useEffect(() => {
    // A text that came with the address is read at once.
    if (first.current !== "" && !reading) read(first.current);
    first.current = "";
  }, [read, reading]);
  const quick = reading?.probed && reading.probed.elapsed_s < QUICK_S;
  const unread =
    reading?.probed && findLatent(reading.probed, page.latent, reading.latent).state === "unread";
  const again = quick && unread && !isReading && !error ? reading.text : null;
  useEffect(() => {
    if (again === null) return;
    const timer = setTimeout(() => read(again), STAY_MS);
    return () => clearTimeout(timer);
  }, [again, page.latent, read]);
  return (
    <div className="test-box">
      <form
        className="ask"
        onSubmit={(event) => {
          event.preventDefault();
          ask();
        }}
      >
        <GrowingBox
          box={box}
          name="Text to test"
          placeholder="Write or paste a text: where does this feature fire? (t)"
          value={text}
          onChange={onText}
          onEnter={ask}
        />
        <button type="submit" className="primary" disabled={text === "" || isReading}>
          Test
        </button>
      </form>
      {isReading && !quick && <WorkerNote />}
      {error && <Failed error={error} retry={ask} />}
      {reading && !error && (
        <TestResult
          page={page}
          reading={reading}
          busy={isReading}
          again={() => read(reading.text)}
        />
      )}
    </div>
  );
}
