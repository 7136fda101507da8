/** A feature's label as far as it can be trusted. */
export function Label({ label, known }: { label: string; known: boolean }) {
  if (label === "")
    return (
      <span className="muted" title="Nobody has written a label for this feature yet.">
        no label
      </span>
    );
  if (!known)
    return (
      <span
        className="muted"
        title="A label was written, but it did not score above the threshold on text that its writer had not read."
      >
        not known
      </span>
    );
  return <bdi>{label}</bdi>;
}
