import { Failed } from "./states";

/** In place of a page that cannot be shown: a heading as every page has one, and why. */
export function NotShown({
  what,
  error,
  retry,
}: {
  what: string;
  error: unknown;
  retry: () => void;
}) {
  return (
    <>
      <h1>{what} cannot be shown</h1>
      <Failed error={error} retry={retry} />
    </>
  );
}
