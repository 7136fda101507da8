import { useLayoutEffect, useRef } from "react";
import { count } from "../../ui/format";
import { positionOf, type Line } from "./layout";
import { type Measure, MEASURES } from "./measures";

interface Props {
  line: Line;
  /** Where the cell is on the screen. */
  box: DOMRect;
  measure: Measure;
}

/** All figures of the dictionary under the pointer. */
export function CellTip({ line, box, measure }: Props) {
  const tip = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const own = tip.current;
    if (!own) return;
    const { offsetWidth: width, offsetHeight: height } = own;
    const wide = document.documentElement.clientWidth;
    const below = box.bottom + 8 + height < window.innerHeight;
    const left = Math.min(wide - width - 8, Math.max(8, box.left + box.width / 2 - width / 2));
    own.style.left = `${left}px`;
    own.style.top = `${below ? box.bottom + 8 : Math.max(8, box.top - 8 - height)}px`;
  });
  return (
    <div className="cell-tip" ref={tip} role="presentation" aria-hidden="true">
      <strong className="mono">
        {positionOf(line)} · layer {line.layer ?? "–"}
      </strong>
      <div className="muted">
        {count(line.n_latents)} latents, {line.sparsity}
      </div>
      <dl>
        {MEASURES.map((one) => (
          <div key={one.id} className={one.id === measure.id ? "chosen" : undefined}>
            <dt>{one.title}</dt>
            <dd>{one.format(one.of(line))}</dd>
          </div>
        ))}
      </dl>
      <div className="muted">
        {line.status}
        {line.has_atlas ? " · has an atlas" : ""}
      </div>
    </div>
  );
}
