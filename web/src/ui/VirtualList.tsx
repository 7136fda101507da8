import { useQueries } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useEffect, useId, useRef, useState } from "react";
import { Failed } from "./states";
import "./VirtualList.css";

interface Props<Row> {
  total: number;
  rowHeight: number;
  /** At most 100 rows at once. */
  load: (offset: number, limit: number) => Promise<readonly Row[]>;
  renderRow: (row: Row, index: number) => ReactNode;
  /** Enter or a click on a row (but not on a link or button in it). */
  onActivate?: (row: Row, index: number) => void;
  /** Name of the list for screen readers. */
  label: string;
  /** What `load` depends on (filters, order): another key is another list. Keeps rows over visits. */
  queryKey?: readonly unknown[];
  height?: number | string;
}

const PAGE = 100;

/** A list of any length: rows are drawn where they are seen and loaded by the hundred. */
export function VirtualList<Row>(props: Props<Row>) {
  const { total, rowHeight, load, renderRow, onActivate, label, queryKey, height = "70vh" } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const own = useId();
  const key = queryKey ?? [own];
  const [active, setActive] = useState(0);
  const focusNext = useRef(false);
  // eslint-disable-next-line react-hooks/incompatible-library -- its functions are called at each drawing on purpose
  const virtual = useVirtualizer({
    count: total,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 8,
    useFlushSync: false, // React complains of a synchronous drawing while it draws
  });
  const shown = virtual.getVirtualItems();
  const from = Math.floor((shown[0]?.index ?? 0) / PAGE);
  const to = Math.floor((shown.at(-1)?.index ?? 0) / PAGE);
  const pages = useQueries({
    queries: Array.from({ length: total === 0 ? 0 : to - from + 1 }, (_, i) => ({
      queryKey: [...key, "rows", from + i],
      queryFn: () => load((from + i) * PAGE, Math.min(PAGE, total - (from + i) * PAGE)),
    })),
  });
  const rowAt = (index: number) => pages[Math.floor(index / PAGE) - from]?.data?.[index % PAGE];
  const failed = pages.find(({ error }) => error);
  useEffect(() => {
    if (!focusNext.current) return;
    const row = scroller.current?.querySelector<HTMLElement>(`[data-index="${active}"]`);
    if (!row) return; // not drawn yet; scrolling draws it and comes back here
    focusNext.current = false;
    row.focus({ preventScroll: true });
  });
  const go = (index: number) => {
    const next = Math.min(total - 1, Math.max(0, index));
    setActive(next);
    focusNext.current = true;
    virtual.scrollToIndex(next, { align: "auto" });
  };
  const onKey = (event: React.KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isField(event.target)) return;
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / rowHeight) - 1);
    const target = {
      j: active + 1,
      ArrowDown: active + 1,
      k: active - 1,
      ArrowUp: active - 1,
      PageDown: active + page,
      PageUp: active - page,
      Home: 0,
      End: total - 1,
    }[event.key];
    const row = rowAt(active);
    if (target !== undefined) go(target);
    else if (event.key === "Enter" && row && !isControl(event.target)) onActivate?.(row, active);
    else return;
    event.preventDefault();
  };
  return (
    <>
      {failed && <Failed error={failed.error} retry={() => void failed.refetch()} />}
      <div
        ref={scroller}
        className="virtual-list"
        role="list"
        aria-label={label}
        tabIndex={0}
        style={{ maxHeight: height, height: total * rowHeight + 2 }}
        onKeyDown={onKey}
      >
        <div role="presentation" style={{ height: virtual.getTotalSize(), position: "relative" }}>
          {shown.map(({ index, start }) => {
            const row = rowAt(index);
            return (
              <div
                key={index}
                role="listitem"
                data-index={index}
                aria-setsize={total}
                aria-posinset={index + 1}
                aria-current={index === active ? "true" : undefined}
                tabIndex={-1}
                className="virtual-row"
                style={{ height: rowHeight, transform: `translateY(${start}px)` }}
                onFocus={() => setActive(index)}
                onClick={(event) => {
                  if (row !== undefined && !isControl(event.target)) onActivate?.(row, index);
                }}
              >
                {row === undefined ? <span className="row-waits">…</span> : renderRow(row, index)}
              </div>
            );
          })}
        </div>
      </div>
    </>
  );
}

const isField = (target: EventTarget) =>
  target instanceof HTMLElement && target.matches("input, select, textarea");
const isControl = (target: EventTarget) =>
  target instanceof Element && target.closest("a, button, input, select, textarea") !== null;
