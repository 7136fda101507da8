import type { Schemas } from "../../api/client";
import { FeatureLink } from "../../ui/FeatureLink";
import { fixed, share } from "../../ui/format";

interface Props {
  group: Schemas["Group"];
  narrow: string;
  chosen: boolean;
  onOpen: () => void;
}

/** A latent of the narrow dictionary in a line: itself, and how many children it has. */
export function GroupRow({ group, narrow, chosen, onOpen }: Props) {
  const n = group.children.length;
  const nearest = group.children[0];
  return (
    <div className={chosen ? "group-row chosen" : "group-row"}>
      <span className="group-name">
        <FeatureLink dictionary={narrow} latent={group.latent} label={group.label} />
        {group.density !== null && (
          <span className="muted">fires on {share(group.density)} of tokens</span>
        )}
      </span>
      <button type="button" className="small" aria-pressed={chosen} onClick={onOpen}>
        {n === 0 ? "lost" : n === 1 ? "1 child" : `${n} children`}
      </button>
      <span className="number muted nearest" title="Cosine with the nearest child.">
        {nearest ? <>cos {fixed(nearest.cosine, 2)}</> : ""}
      </span>
    </div>
  );
}
