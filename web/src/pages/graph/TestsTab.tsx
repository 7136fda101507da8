import { Failed } from "../../ui/states";
import { TestLine } from "./TestPart";
import { type At, useTests } from "./useGraph";

/** All claims of the graph that were tried, newest first. */
export function TestsTab({ at }: { at: At }) {
  const tests = useTests(at);
  return (
    <div className="all-tests">
      {(tests.data?.tests ?? []).map((test) => (
        <div key={test.id}>
          <p className="mono small-print">
            {test.edge ? test.edge.join(" → ") : test.nodes.join(", ")}
          </p>
          <TestLine test={test} />
        </div>
      ))}
      {tests.data?.tests.length === 0 && (
        <p className="muted">No claim was tried yet. Focus a feature and press “Test this”.</p>
      )}
      {tests.error && <Failed error={tests.error} />}
    </div>
  );
}
