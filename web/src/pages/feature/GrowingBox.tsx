import type { RefObject } from "react";

interface Props {
  box: RefObject<HTMLTextAreaElement | null>;
  name: string;
  placeholder: string;
  value: string;
  onChange: (value: string) => void;
  /** Enter sends, Shift and Enter begins a new line. */
  onEnter: () => void;
}

const MOST = 32_768;

/** A box that is one line high until more is written. */
export function GrowingBox({ box, name, placeholder, value, onChange, onEnter }: Props) {
  return (
    <textarea
      ref={box}
      className="growing"
      aria-label={name}
      placeholder={placeholder}
      rows={Math.min(8, value.split("\n").length)}
      maxLength={MOST}
      value={value}
      onChange={(event) => onChange(event.target.value)}
      onKeyDown={(event) => {
        if (event.key === "Escape") event.currentTarget.blur();
        if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
        event.preventDefault();
        onEnter();
      }}
    />
  );
}
