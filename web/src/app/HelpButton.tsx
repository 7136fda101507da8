import { useRef, useState } from "react";
import { describedKeys } from "../ui/keyboard";
import { useKeys } from "../ui/useKeys";

type Lines = readonly (readonly [string, string])[];

const IN_LISTS: Lines = [
  ["j  ↓", "Next row"],
  ["k  ↑", "Previous row"],
  ["Enter", "Open the row"],
  ["PgUp  PgDn", "A screen up or down"],
  ["Home  End", "First or last row"],
];
const IN_TEXT: Lines = [
  ["Tab", "To the next passage"],
  ["←  →", "Token by token, with its value"],
  ["Esc", "Hide the value"],
];

/** Shows all keys that hold on this page, also with `?`. */
export function HelpButton() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [here, setHere] = useState<Lines>([]);
  const open = () => {
    setHere(describedKeys());
    if (!dialog.current?.open) dialog.current?.showModal();
  };
  useKeys({ "?": { does: "Show these keys", run: open } });
  const everywhere = here.filter(([, does]) => isGeneral(does));
  const page = here.filter(([, does]) => !isGeneral(does));
  return (
    <>
      <button type="button" onClick={open} aria-label="Keys" title="Keys (?)">
        ?
      </button>
      <dialog
        ref={dialog}
        className="help"
        aria-labelledby="help-title"
        onClick={(event) => event.target === dialog.current && dialog.current.close()}
      >
        <div className="help-head">
          <h2 id="help-title">Keys</h2>
          <button type="button" onClick={() => dialog.current?.close()}>
            Close
          </button>
        </div>
        <div className="help-groups">
          {page.length > 0 && <KeyGroup title="On this page" lines={page} />}
          <KeyGroup title="Everywhere" lines={everywhere} />
          <KeyGroup title="In lists" lines={IN_LISTS} />
          <KeyGroup title="In shaded text" lines={IN_TEXT} />
        </div>
      </dialog>
    </>
  );
}

const isGeneral = (does: string) => /^(Go to |Search all |Show these )/.test(does);

function KeyGroup({ title, lines }: { title: string; lines: Lines }) {
  return (
    <section>
      <h3>{title}</h3>
      <dl>
        {lines.map(([keys, does]) => (
          <div key={keys}>
            <dt>
              {keys.split(/\s+/).map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{does.charAt(0).toUpperCase() + does.slice(1)}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
