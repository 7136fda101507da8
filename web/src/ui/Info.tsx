import type { ReactNode } from "react";
import { Popover } from "./Popover";

/** A small "i" that explains what stands beside it. */
export function Info({ about, children }: { about: string; children: ReactNode }) {
  return (
    <Popover button="i" name={`What is ${about}?`} className="info">
      {children}
    </Popover>
  );
}
