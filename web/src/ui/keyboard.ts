/** One listener for all keys of the page; the keys that a component asks for hold while it is shown. */

export type Handler = (event: KeyboardEvent) => void;
export interface Described {
  /** What the key does, for the help, e.g. `next feature`. */
  does: string;
  run: Handler;
}
export type Keys = Record<string, Handler | Described>;

const PAUSE_MS = 1200;
const held: { keys: Keys }[] = [];
let before = "";
let timer: ReturnType<typeof setTimeout> | undefined;

/** Whether keys belong to what is being typed in. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.closest("dialog[open]")) return true;
  if (target instanceof HTMLInputElement)
    return !["button", "checkbox", "radio", "range", "submit"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

function find(sequence: string): Handler | undefined {
  for (const { keys } of held.toReversed()) {
    const found = keys[sequence];
    if (found) return typeof found === "function" ? found : found.run;
  }
  return undefined;
}

function begins(sequence: string): boolean {
  return held.some(({ keys }) => Object.keys(keys).some((key) => key.startsWith(`${sequence} `)));
}

function listen(event: KeyboardEvent) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isTyping(event.target) || event.key === "Shift") return;
  clearTimeout(timer);
  const sequence = before ? `${before} ${event.key}` : event.key;
  const handler = find(sequence) ?? (before ? find(event.key) : undefined);
  before = "";
  if (handler) {
    event.preventDefault();
    handler(event);
  } else if (begins(event.key)) {
    before = event.key;
    timer = setTimeout(() => (before = ""), PAUSE_MS);
  }
}

/** Holds the keys until the answer is called. */
export function hold(entry: { keys: Keys }): () => void {
  if (held.length === 0) window.addEventListener("keydown", listen);
  held.push(entry);
  return () => {
    held.splice(held.indexOf(entry), 1);
    if (held.length === 0) window.removeEventListener("keydown", listen);
  };
}

/** The keys that hold now and say what they do. */
export function describedKeys(): [string, string][] {
  return held.flatMap(({ keys }) =>
    Object.entries(keys).flatMap(([key, handler]): [string, string][] =>
      typeof handler === "function" ? [] : [[key, handler.does]],
    ),
  );
}
