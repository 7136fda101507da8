import { act, cleanup, renderHook } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { useStream } from "./useStream";

/** Stands for the network. */
class Source extends EventTarget {
  static made: Source[] = [];
  onopen?: () => void;
  onerror?: () => void;
  closed = false;
  constructor(readonly url: string) {
    super();
    Source.made.push(this);
  }
  close() {
    this.closed = true;
  }
  say(kind: string, data: unknown) {
    act(() => void this.dispatchEvent(new MessageEvent(kind, { data: JSON.stringify(data) })));
  }
}

beforeEach(() => {
  Source.made = [];
  vi.stubGlobal("EventSource", Source);
  vi.useFakeTimers();
});
afterEach(() => {
  cleanup();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("events reach the newest handler, and leaving closes the stream", () => {
  const heard: unknown[] = [];
  const { result, rerender, unmount } = renderHook(
    ({ name }) => useStream("/x", { update: (data) => heard.push([name, data]) }),
    { initialProps: { name: "first" } },
  );
  const source = Source.made[0]!;
  expect(result.current).toBe("connecting");
  act(() => source.onopen?.());
  expect(result.current).toBe("open");
  source.say("update", 1);
  rerender({ name: "second" });
  source.say("update", 2);
  expect(heard).toEqual([
    ["first", 1],
    ["second", 2],
  ]);
  expect(Source.made).toHaveLength(1);
  unmount();
  expect(source.closed).toBe(true);
});

test("a connection that drops is made again, from where it was", () => {
  let step = 0;
  const { result } = renderHook(() => useStream(() => `/x?after=${step}`, { update: () => {} }));
  step = 40;
  act(() => Source.made[0]!.onerror?.());
  expect(result.current).toBe("connecting");
  expect(Source.made).toHaveLength(1);
  act(() => void vi.advanceTimersByTime(2000));
  expect(Source.made.map(({ url }) => url)).toEqual(["/x?after=0", "/x?after=40"]);
  expect(Source.made[0]!.closed).toBe(true);
});

test("the end closes it for good", () => {
  const { result } = renderHook(() => useStream("/x", { update: () => {} }));
  Source.made[0]!.say("end", null);
  expect(result.current).toBe("closed");
  act(() => void vi.advanceTimersByTime(60_000));
  expect(Source.made).toHaveLength(1);
});

test("no address, no connection", () => {
  const { result } = renderHook(() => useStream(null, { update: () => {} }));
  expect(result.current).toBe("closed");
  expect(Source.made).toHaveLength(0);
});
