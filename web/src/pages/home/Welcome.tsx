import type { ReactNode } from "react";
import { CopyButton } from "../../ui/CopyButton";
import { Panel } from "../../ui/Panel";

const FIRST_STEPS: { command: string; does: ReactNode }[] = [
  {
    command: "lmscope demo",
    does: "Trains a dictionary on a small model, measures it and labels its latents: about a quarter of an hour on two processors.",
  },
  {
    command: "lmscope train --model gpt2 --site 'mlp_out@6' --latents 6144 --k 32 --tokens 10M",
    does: (
      <>
        Trains a dictionary at a place of your choice; with <code>--dry-run</code> it first says how
        long it takes and how much memory.
      </>
    ),
  },
  {
    command: "lmscope atlas build last && lmscope explain last",
    does: "Finds the text on which each latent of your last run fires, and writes labels with scores.",
  },
];

/** What to do where nothing lies under the served folders yet. */
export function Welcome({ folders }: { folders: string[] }) {
  return (
    <Panel title="Nothing here yet">
      <p>
        There is no run and no atlas under <code>{folders.join(", ")}</code>. This page shows them
        as soon as there are; it need not be loaded again. To begin, in a terminal:
      </p>
      <ol className="first-steps">
        {FIRST_STEPS.map(({ command, does }) => (
          <li key={command}>
            <div>
              <code>{command}</code> <CopyButton text={command} />
            </div>
            <p className="muted">{does}</p>
          </li>
        ))}
      </ol>
      <p className="muted">
        Runs lie in another folder? Name it: <code>lmscope serve FOLDER</code>.
      </p>
    </Panel>
  );
}
