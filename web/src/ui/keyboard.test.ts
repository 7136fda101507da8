import { afterEach, expect, test, vi } from "vitest";
import { describedKeys, hold, type Keys } from "./keyboard";

const released: (() => void)[] = [];
const held = (keys: Keys) => released.push(hold({ keys }));
const press = (key: string, on: EventTarget = document.body, options: KeyboardEventInit = {}) =>
  on.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...options }),
  );

afterEach(() => {
  for (const release of released.splice(0)) release();
  document.body.replaceChildren();
});

test("a key calls what asked for it last", () => {
  const [first, second] = [vi.fn(), vi.fn()];
  held({ j: first });
  const release = hold({ keys: { j: second } });
  press("j");
  expect([first.mock.calls.length, second.mock.calls.length]).toEqual([0, 1]);
  release();
  press("j");
  expect(first).toHaveBeenCalledOnce();
});

test("two keys in a row are one command, and the first alone is none", () => {
  const home = vi.fn();
  held({ "g h": home });
  press("g");
  expect(home).not.toHaveBeenCalled();
  press("h");
  expect(home).toHaveBeenCalledOnce();
  press("h");
  expect(home).toHaveBeenCalledOnce();
});

test("a second key that belongs to nothing counts by itself", () => {
  const next = vi.fn<() => void>();
  held({ "g h": vi.fn<() => void>(), j: next });
  press("g");
  press("j");
  expect(next).toHaveBeenCalledOnce();
});

test("keys are ignored while somebody types, with modifiers, and where a component took them", () => {
  const run = vi.fn<() => void>();
  held({ s: run });
  const input = document.body.appendChild(document.createElement("input"));
  press("s", input);
  press("s", document.body, { ctrlKey: true });
  const list = document.body.appendChild(document.createElement("div"));
  list.addEventListener("keydown", (event) => event.preventDefault());
  press("s", list);
  expect(run).not.toHaveBeenCalled();
  const box = document.body.appendChild(document.createElement("input"));
  box.type = "checkbox";
  press("s", box);
  expect(run).toHaveBeenCalledOnce();
});

test("only keys that say what they do are listed", () => {
  held({ j: vi.fn<() => void>(), s: { does: "Star", run: vi.fn<() => void>() } });
  expect(describedKeys()).toEqual([["s", "Star"]]);
});
