import { useRef } from "react";
import type { Schemas } from "../api/client";
import { CopyButton } from "./CopyButton";
import "./ProvenanceDrawer.css";

const COPY_AS = { shell: "Copy as command", python: "Copy as Python", sql: "Copy as SQL" };

interface Props {
  provenance: Omit<Schemas["Provenance"], "facts"> & { facts: readonly (readonly string[])[] };
}

/** A button that opens a drawer with where the page's numbers come from, and how to get them again. */
export function ProvenanceDrawer({ provenance }: Props) {
  const drawer = useRef<HTMLDialogElement>(null);
  return (
    <>
      <button type="button" onClick={() => drawer.current?.showModal()}>
        Provenance
      </button>
      <dialog
        ref={drawer}
        className="drawer"
        aria-label="Provenance"
        onClick={(event) => event.target === drawer.current && drawer.current.close()}
      >
        <div className="drawer-page stack">
          <header className="drawer-head">
            <h2>Provenance</h2>
            <button type="button" onClick={() => drawer.current?.close()}>
              Close
            </button>
          </header>
          <p className="muted">
            What the numbers on this page were made from, and how to get the same ones without it.
          </p>
          <dl className="facts">
            {provenance.facts.map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd className="mono">{value}</dd>
              </div>
            ))}
          </dl>
          {provenance.snippets.map((snippet) => (
            <section key={snippet.title} className="snippet">
              <header>
                <h3>{snippet.title}</h3>
                <CopyButton text={snippet.text} name={COPY_AS[snippet.language]} />
              </header>
              <pre tabIndex={0} aria-label={snippet.title}>
                {snippet.text}
              </pre>
            </section>
          ))}
        </div>
      </dialog>
    </>
  );
}
