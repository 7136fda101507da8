import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type Connection, follow } from "./follow";

class Source extends EventTarget {
  static all: Source[] = [];
  closed = false;
  constructor(readonly url: string) {
    super();
    Source.all.push(this);
  }
  close() {
    this.closed = true;
  }
  say(kind: string, text = "") {
    this.dispatchEvent(new MessageEvent(kind, { data: text }));
  }
}

let after = 0;
let heard: string[] = [];
let states: Connection[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("EventSource", Source);
  [Source.all, after, heard, states] = [[], 0, [], []];
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const start = () =>
  follow({
    address: () => `/stream?after=${after}`,
    event: "update",
    onData: (text) => heard.push(text),
    onConnection: (state) => states.push(state),
  });

it("goes on from where it was when the connection is lost", () => {
  const stop = start();
  Source.all[0]?.say("open");
  Source.all[0]?.say("update", "one");
  after = 7;
  Source.all[0]?.say("error");
  expect(Source.all[0]?.closed).toBe(true);
  vi.advanceTimersByTime(500);
  expect(Source.all.map(({ url }) => url)).toEqual(["/stream?after=0", "/stream?after=7"]);
  Source.all[1]?.say("open");
  Source.all[1]?.say("update", "two");
  expect(heard).toEqual(["one", "two"]);
  expect(states).toEqual(["connecting", "live", "reconnecting", "live"]);
  stop();
});

it("waits longer each time that nobody answers, and begins anew after an answer", () => {
  const stop = start();
  Source.all[0]?.say("error");
  vi.advanceTimersByTime(500);
  Source.all[1]?.say("error");
  vi.advanceTimersByTime(999);
  expect(Source.all).toHaveLength(2);
  vi.advanceTimersByTime(1);
  expect(Source.all).toHaveLength(3);
  Source.all[2]?.say("update", "x");
  Source.all[2]?.say("error");
  vi.advanceTimersByTime(500);
  expect(Source.all).toHaveLength(4);
  stop();
});

it("ends when the server says so, and when the page is left", () => {
  start();
  Source.all[0]?.say("end");
  expect(states.at(-1)).toBe("ended");
  expect(Source.all[0]?.closed).toBe(true);
  const stop = start();
  Source.all[1]?.say("error");
  stop();
  vi.advanceTimersByTime(60_000);
  expect(Source.all).toHaveLength(2);
});
