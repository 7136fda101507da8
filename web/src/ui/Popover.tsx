import { type ReactNode, useEffect, useId, useRef, useState } from "react";
import "./Popover.css";

interface Props {
  /** What the button says; its text is its name for screen readers. */
  button: ReactNode;
  /** The button's name where what it shows is a sign. */
  name?: string;
  className?: string;
  children: ReactNode;
}

/** A button that shows a small box beside it; Escape, or a click elsewhere, closes the box. */
export function Popover({ button, name, className, children }: Props) {
  const [open, setOpen] = useState(false);
  const whole = useRef<HTMLSpanElement>(null);
  const box = useRef<HTMLSpanElement>(null);
  const id = useId();
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      if (event.target instanceof Node && !whole.current?.contains(event.target)) setOpen(false);
    };
    const key = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      whole.current?.querySelector("button")?.focus();
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", away);
    document.addEventListener("keydown", key);
    keepInside(box.current);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("focusin", away);
      document.removeEventListener("keydown", key);
    };
  }, [open]);
  return (
    <span className="popover" ref={whole}>
      <button
        type="button"
        className={className}
        aria-label={name}
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        onClick={() => setOpen(!open)}
      >
        {button}
      </button>
      {open && (
        <span className="popover-box" id={id} role="note" ref={box}>
          {children}
        </span>
      )}
    </span>
  );
}

/** Moves the box sideways as far as it sticks out of the window. */
function keepInside(box: HTMLElement | null) {
  if (!box) return;
  const { left, right } = box.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const shift = right > width - 8 ? width - 8 - right : left < 8 ? 8 - left : 0;
  if (shift !== 0) box.style.marginLeft = `${shift}px`;
}
