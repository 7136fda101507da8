import { type RefObject, useState } from "react";
import type { Schemas } from "../../api/client";
import { Panel } from "../../ui/Panel";
import { Tabs } from "../../ui/Tabs";
import { SteerBox } from "./SteerBox";
import { FIRST_FORM, type SteerForm } from "./steering";
import { TestBox } from "./TestBox";
import { useProbe } from "./useProbe";
import { useSteer } from "./useSteer";

export type TryTab = "test" | "steer";

interface Props {
  page: Schemas["FeaturePage"];
  tab: TryTab;
  onTab: (tab: TryTab) => void;
  /** The box to write in, of whichever tab is shown. */
  box: RefObject<HTMLTextAreaElement | null>;
  /** A text to test that came with the address. */
  text: string | null;
}

/** Asks the model itself: where the feature fires on a text, and what steering with it does. */
export function TryPanel({ page, tab, onTab, box, text: given }: Props) {
  const [text, setText] = useState(given ?? "");
  const [form, setForm] = useState<SteerForm>(FIRST_FORM);
  const probe = useProbe(page);
  const steer = useSteer(page);
  if (!page.live)
    return (
      <Panel title="Try it">
        <p className="muted">
          The test box and steering need the dictionary’s weights and its model, and this server
          does not have both: it serves what the atlas holds. Serve the folder of the run that
          trained the dictionary as well.
        </p>
      </Panel>
    );
  return (
    <section className="panel try" aria-label="Try the feature">
      <h2 className="off-screen">Try the feature</h2>
      <Tabs
        label="Try the feature"
        selected={tab}
        onSelect={(id) => onTab(id === "steer" ? "steer" : "test")}
        tabs={[
          {
            id: "test",
            title: "Test on a text",
            content: <TestBox page={page} box={box} text={text} onText={setText} probe={probe} />,
          },
          {
            id: "steer",
            title: "Steer",
            content: <SteerBox page={page} box={box} form={form} onForm={setForm} steer={steer} />,
          },
        ]}
      />
    </section>
  );
}
