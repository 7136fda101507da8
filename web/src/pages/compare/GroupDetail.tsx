import type { Schemas } from "../../api/client";
import { FeatureLink } from "../../ui/FeatureLink";
import { fixed, share } from "../../ui/format";
import { Empty } from "../../ui/states";

interface Props {
  group: Schemas["Group"] | null;
  narrow: string;
  wide: string;
}

/** One latent of the narrow dictionary with all that the wide one makes of it. */
export function GroupDetail({ group, narrow, wide }: Props) {
  if (!group)
    return (
      <div className="group-detail">
        <Empty>Choose a latent to see its children.</Empty>
      </div>
    );
  const sum = group.children.reduce((total, child) => total + (child.density ?? NaN), 0);
  return (
    <section className="group-detail" aria-label={`Latent ${group.latent} and its children`}>
      <h3>
        <FeatureLink dictionary={narrow} latent={group.latent} label={group.label} />
      </h3>
      {group.density !== null && (
        <p className="muted">
          Fires on {share(group.density)} of tokens
          {group.children.length > 1 && Number.isFinite(sum) && (
            <>; its children together on at most {share(sum)}</>
          )}
          .
        </p>
      )}
      {group.children.length === 0 ? (
        <Empty>No latent of the wide dictionary is near enough to be its child.</Empty>
      ) : (
        <table>
          <thead>
            <tr>
              <th scope="col">child in the wide dictionary</th>
              <th scope="col" className="number">
                cosine
              </th>
              <th scope="col" className="number">
                density
              </th>
            </tr>
          </thead>
          <tbody>
            {group.children.map((child) => (
              <tr key={child.latent}>
                <td>
                  <FeatureLink dictionary={wide} latent={child.latent} label={child.label} />
                </td>
                <td className="number">{fixed(child.cosine, 3)}</td>
                <td className="number">{share(child.density)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}
