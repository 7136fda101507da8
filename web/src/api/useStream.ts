import { useEffect, useRef, useState } from "react";

export type StreamState = "closed" | "connecting" | "open";

const AGAIN_MS = 2000;

/**
 * Listens to server-sent events of an address while it is given, and to no other one.
 *
 * The browser reconnects by itself where the connection drops; where the server refused, this tries again
 * after two seconds. The event `end` closes the stream for good.
 *
 * @param address Of the stream, or null for none; a function is asked anew at each connection.
 * @param on What to do with the data of each kind of event.
 */
export function useStream(
  address: string | (() => string) | null,
  on: Record<string, (data: unknown) => void>,
): StreamState {
  const handlers = useRef(on);
  const where = useRef(address);
  const [open, setOpen] = useState(false);
  const [ended, setEnded] = useState(false);
  useEffect(() => {
    handlers.current = on;
    where.current = address;
  });
  const wanted = address === null ? null : typeof address === "string" ? address : "";
  const kinds = Object.keys(on).join(" ");
  useEffect(() => {
    if (wanted === null) return;
    let source: EventSource | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const connect = () => {
      const to = typeof where.current === "function" ? where.current() : where.current;
      if (to === null) return;
      source = new EventSource(to);
      source.onopen = () => setOpen(true);
      source.onerror = () => {
        setOpen(false);
        // A new connection asks for the address anew, so that it can say how far it got.
        source?.close();
        timer = setTimeout(connect, AGAIN_MS);
      };
      for (const kind of kinds.split(" "))
        source.addEventListener(kind, (event: MessageEvent<string>) =>
          handlers.current[kind]?.(JSON.parse(event.data)),
        );
      source.addEventListener("end", () => {
        source?.close();
        setOpen(false);
        setEnded(true);
      });
    };
    connect();
    return () => {
      clearTimeout(timer);
      source?.close();
      setOpen(false);
      setEnded(false);
    };
  }, [wanted, kinds]);
  return wanted === null || ended ? "closed" : open ? "open" : "connecting";
}
