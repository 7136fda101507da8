import { type RefObject, useEffect, useRef } from "react";
import type { Schemas } from "../../api/client";
import { Failed } from "../../ui/states";
import { GrowingBox } from "./GrowingBox";
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

/** Any text of one's own, read by the model: where does the feature fire? */
export function TestBox({ page, box, text, onText, probe }: Props) {
  const ask = () => {
    if (text !== "" && !probe.isPending) probe.mutate(text);
  };
  const first = useRef(text);
  const { mutate, isIdle } = probe;
  useEffect(() => {
    // A text that came with the address is read at once.
    if (first.current !== "" && isIdle) mutate(first.current);
    first.current = "";
  }, [mutate, isIdle]);
  const answer = probe.data?.dictionary === page.dictionary.id ? probe.data : null;
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
        <button type="submit" className="primary" disabled={text === "" || probe.isPending}>
          Test
        </button>
      </form>
      {probe.isPending && <WorkerNote />}
      {probe.isError && <Failed error={probe.error} retry={ask} />}
      {answer && !probe.isPending && !probe.isError && (
        <TestResult page={page} answer={answer} again={() => probe.mutate(answer.text)} />
      )}
    </div>
  );
}
