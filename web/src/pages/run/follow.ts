/** Follows a server-sent event stream through lost connections until the server says `end`. */

export type Connection = "connecting" | "live" | "reconnecting" | "ended";

interface Options {
  /** Where to go on: called at each connection, so that nothing comes twice. */
  address: () => string;
  /** Name of the events that carry data. */
  event: string;
  onData: (text: string) => void;
  onConnection: (state: Connection) => void;
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

/** Begins; what it answers stops it. */
export function follow({ address, event, onData, onConnection }: Options): () => void {
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let pause = FIRST_PAUSE_MS;
  const connect = () => {
    source = new EventSource(address());
    source.addEventListener("open", () => onConnection("live"));
    source.addEventListener(event, (message) => {
      pause = FIRST_PAUSE_MS;
      onData((message as MessageEvent<string>).data);
    });
    source.addEventListener("end", () => {
      source?.close();
      onConnection("ended");
    });
    source.addEventListener("error", () => {
      // The browser would go on from the first address, with points that are there already.
      source?.close();
      onConnection("reconnecting");
      timer = setTimeout(connect, pause);
      pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
    });
  };
  onConnection("connecting");
  connect();
  return () => {
    clearTimeout(timer);
    source?.close();
  };
}
