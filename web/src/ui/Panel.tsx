import { type ReactNode, useId } from "react";
import { Info } from "./Info";
import "./Panel.css";

interface Props {
  title: string;
  /** What the panel shows, explained; behind an "i" beside the title. */
  info?: ReactNode;
  /** Buttons and links on the right of the title. */
  actions?: ReactNode;
  children: ReactNode;
}

/** A titled part of a page. */
export function Panel({ title, info, actions, children }: Props) {
  const id = useId();
  return (
    <section className="panel" aria-labelledby={id}>
      <header className="panel-head">
        <h2 id={id}>{title}</h2>
        {info && <Info about={title}>{info}</Info>}
        {actions && <div className="panel-actions">{actions}</div>}
      </header>
      {children}
    </section>
  );
}
