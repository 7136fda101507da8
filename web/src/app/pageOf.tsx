import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { type ComponentType, useEffect, useRef, useState } from "react";
import { Loading } from "../ui/states";

/**
 * A page that is loaded when it is asked for. Unlike React's `lazy` it is shown as soon as it is here: after a
 * fallback React waits 0.3 s, which is longer than a graph takes to be fetched and drawn.
 *
 * @param load Brings the page's code.
 * @param ask Asks for what it will show, so that data and code come at the same time.
 */
export function pageOf<P extends object>(
  load: () => Promise<{ default: ComponentType<P> }>,
  ask: (queries: QueryClient, props: P) => void,
) {
  let loaded: ComponentType<P> | null = null;
  return function LoadedPage(props: P) {
    const [Page, setPage] = useState(() => loaded);
    const [error, setError] = useState<unknown>(null);
    const queries = useQueryClient();
    const first = useRef(props);
    useEffect(() => {
      if (loaded) return;
      load().then(
        (module) => {
          loaded = module.default;
          setPage(() => loaded);
        },
        (reason: unknown) => setError(reason),
      );
      ask(queries, first.current);
    }, [queries]);
    if (error) throw error;
    return Page ? <Page {...props} /> : <Loading />;
  };
}
