interface Props {
  owners: readonly string[];
  chosen: ReadonlySet<string>;
  onChoose: (chosen: ReadonlySet<string>) => void;
}

/** Of which dictionaries the curves are drawn. */
export function OwnerChoice({ owners, chosen, onChoose }: Props) {
  const toggle = (owner: string) => {
    const next = new Set(chosen);
    if (!next.delete(owner)) next.add(owner);
    onChoose(next);
  };
  return (
    <details className="owners" open={owners.length <= 8}>
      <summary>
        {chosen.size} of {owners.length} dictionaries drawn
      </summary>
      <p className="owner-all">
        <button type="button" className="small" onClick={() => onChoose(new Set(owners))}>
          All
        </button>
        <button type="button" className="small" onClick={() => onChoose(new Set())}>
          None
        </button>
      </p>
      <div className="owner-list">
        {owners.map((owner) => (
          <label key={owner} className="mono">
            <input type="checkbox" checked={chosen.has(owner)} onChange={() => toggle(owner)} />{" "}
            {owner}
          </label>
        ))}
      </div>
    </details>
  );
}
