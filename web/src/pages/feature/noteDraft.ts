/** A note while it is written. It is kept by itself a moment after the last change. */
import type { Schemas } from "../../api/client";

export type Note = Schemas["NoteBody"];

export const EMPTY_NOTE: Note = { text: "", star: false, tags: [] };
export const LONGEST_NOTE = 20_000;
const LONGEST_TAG = 64;
const PAUSE_MS = 700;

export type Keeping =
  | { state: "kept" | "changed" | "keeping"; error?: undefined }
  | { state: "failed"; error: unknown };

export interface Draft {
  note: Note;
  keeping: Keeping;
  /** Whether anything was kept since the page was opened; until then there is nothing to say. */
  touched: boolean;
}

export function sameNote(a: Note, b: Note): boolean {
  return a.text === b.text && a.star === b.star && a.tags.join("\n") === b.tags.join("\n");
}

/** The tags with those that were typed, separated by commas, each once and in order. */
export function withTags(tags: readonly string[], typed: string): string[] {
  const added = typed
    .split(",")
    .map((tag) => tag.trim().slice(0, LONGEST_TAG))
    .filter((tag) => tag !== "");
  return [...new Set([...tags, ...added])].sort();
}

/** Holds what is typed until the server has it; what could not be kept stays. */
export class NoteDraft {
  private draft: Draft;
  private server: Note;
  private writing = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly listeners = new Set<() => void>();

  constructor(
    kept: Note | null,
    private readonly put: (note: Note) => Promise<unknown>,
  ) {
    this.server = kept ?? EMPTY_NOTE;
    this.draft = { note: this.server, keeping: { state: "kept" }, touched: false };
  }

  readonly subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  };

  readonly current = () => this.draft;

  /** Changes parts of it, and keeps it at once or after a pause. */
  readonly change = (part: Partial<Note>, { atOnce = false }: { atOnce?: boolean } = {}) => {
    const note = { ...this.draft.note, ...part };
    this.show({ note, keeping: { state: "changed" }, touched: true });
    clearTimeout(this.timer);
    if (atOnce) void this.keep();
    else this.timer = setTimeout(() => void this.keep(), PAUSE_MS);
  };

  /** Sends what the server does not have yet; what changes meanwhile is sent afterwards. */
  readonly keep = async () => {
    clearTimeout(this.timer);
    if (this.writing) return;
    this.writing = true;
    try {
      while (!sameNote(this.draft.note, this.server)) {
        const sent = this.draft.note;
        this.show({ keeping: { state: "keeping" } });
        await this.put(sent);
        this.server = sent;
      }
      this.show({ keeping: { state: "kept" } });
    } catch (error) {
      this.show({ keeping: { state: "failed", error } });
    } finally {
      this.writing = false;
    }
  };

  private show(part: Partial<Draft>) {
    this.draft = { ...this.draft, ...part };
    this.listeners.forEach((listener) => listener());
  }
}
