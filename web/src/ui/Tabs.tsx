import { type KeyboardEvent, type ReactNode, useId, useState } from "react";
import "./Tabs.css";

export interface Tab {
  id: string;
  title: ReactNode;
  content: ReactNode;
}

interface Props {
  label: string;
  tabs: Tab[];
  /** Which one is shown, where the page decides; otherwise the first one is. */
  selected?: string;
  onSelect?: (id: string) => void;
}

/** Tabs with arrow keys; only what the chosen one holds is drawn. */
export function Tabs({ label, tabs, selected, onSelect }: Props) {
  const [own, setOwn] = useState(tabs[0]?.id);
  const prefix = useId();
  const wanted = selected ?? own;
  const at = Math.max(
    0,
    tabs.findIndex(({ id }) => id === wanted),
  );
  const current = tabs[at];
  const select = (id: string) => {
    setOwn(id);
    onSelect?.(id);
  };
  const onKey = (event: KeyboardEvent) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const tab = tabs[(to + tabs.length) % tabs.length];
    if (!tab) return;
    select(tab.id);
    document.getElementById(`${prefix}-${tab.id}`)?.focus();
  };
  return (
    <div className="tabs">
      <div role="tablist" aria-label={label} onKeyDown={onKey}>
        {tabs.map(({ id, title }) => (
          <button
            key={id}
            type="button"
            role="tab"
            id={`${prefix}-${id}`}
            aria-selected={id === current?.id}
            aria-controls={id === current?.id ? `${prefix}-panel` : undefined}
            tabIndex={id === current?.id ? 0 : -1}
            onClick={() => select(id)}
          >
            {title}
          </button>
        ))}
      </div>
      {current && (
        <div role="tabpanel" id={`${prefix}-panel`} aria-labelledby={`${prefix}-${current.id}`}>
          {current.content}
        </div>
      )}
    </div>
  );
}
