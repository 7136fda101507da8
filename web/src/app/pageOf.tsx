import { type ComponentType, useEffect, useState } from "react";
import { Loading } from "../ui/states";

/**
 * A page that is loaded when it is asked for. Unlike React's `lazy` it is shown as soon as it is here: after a
 * fallback React waits 0.3 s, which is longer than a graph takes to be fetched and drawn.
 */
export function pageOf<P extends object>(load: () => Promise<{ default: ComponentType<P> }>) {
  let loaded: ComponentType<P> | null = null;
  return function LoadedPage(props: P) {
    const [Page, setPage] = useState(() => loaded);
    const [error, setError] = useState<unknown>(null);
    useEffect(() => {
      if (loaded) return;
      load().then(
        (module) => {
          loaded = module.default;
          setPage(() => loaded);
        },
        (reason: unknown) => setError(reason),
      );
    }, []);
    if (error) throw error;
    return Page ? <Page {...props} /> : <Loading />;
  };
}
