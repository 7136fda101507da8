import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { EMPTY_NOTE, type Note, NoteDraft, withTags } from "./noteDraft";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("a note is sent once, a moment after the last letter", async () => {
  const put = vi.fn((note: Note) => Promise.resolve(note));
  const draft = new NoteDraft(EMPTY_NOTE, put);
  draft.change({ text: "a" });
  await vi.advanceTimersByTimeAsync(400);
  draft.change({ text: "ab" });
  await vi.advanceTimersByTimeAsync(400);
  expect(put).not.toHaveBeenCalled();
  expect(draft.current().keeping.state).toBe("changed");
  await vi.advanceTimersByTimeAsync(400);
  expect(put.mock.calls).toEqual([[{ text: "ab", star: false, tags: [] }]]);
  expect(draft.current().keeping.state).toBe("kept");
});

test("what is typed while a note is on its way is sent afterwards", async () => {
  let arrive = () => {};
  const put = vi.fn(() => new Promise<void>((done) => (arrive = done)));
  const draft = new NoteDraft(EMPTY_NOTE, put);
  draft.change({ text: "first" }, { atOnce: true });
  draft.change({ text: "second" }, { atOnce: true });
  expect(put).toHaveBeenCalledTimes(1);
  arrive();
  await vi.advanceTimersByTimeAsync(0);
  expect(put.mock.calls.at(-1)).toEqual([{ text: "second", star: false, tags: [] }]);
  expect(draft.current().keeping.state).toBe("keeping");
  arrive();
  await vi.advanceTimersByTimeAsync(0);
  expect(draft.current().keeping.state).toBe("kept");
});

test("a note that was refused stays, and is sent when asked again", async () => {
  const refused = new Error("This server is read only.");
  const put = vi.fn().mockRejectedValueOnce(refused).mockResolvedValueOnce(null);
  const draft = new NoteDraft(EMPTY_NOTE, put);
  draft.change({ star: true }, { atOnce: true });
  await vi.advanceTimersByTimeAsync(0);
  expect(draft.current()).toMatchObject({
    note: { star: true },
    keeping: { state: "failed", error: refused },
  });
  await draft.keep();
  expect(draft.current().keeping.state).toBe("kept");
});

test("leaving an unchanged note sends nothing", async () => {
  const put = vi.fn();
  const draft = new NoteDraft({ text: "there", star: false, tags: [] }, put);
  await draft.keep();
  draft.change({ text: "there!" });
  draft.change({ text: "there" });
  await vi.runAllTimersAsync();
  expect(put).not.toHaveBeenCalled();
});

test("tags are split at commas, each once and in order", () => {
  expect(withTags(["verbs"], " tense, verbs ,, a ")).toEqual(["a", "tense", "verbs"]);
  expect(withTags([], "x".repeat(90))[0]).toHaveLength(64);
});
