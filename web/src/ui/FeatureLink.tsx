import { Link } from "wouter";
import { Label } from "./Label";

interface Props {
  dictionary: string;
  latent: number;
  label: string;
  /** Whether the label can be trusted; absent: it is known where there is one. */
  known?: boolean;
}

/** A link to a feature: its number and its label. */
export function FeatureLink({ dictionary, latent, label, known }: Props) {
  const sure = known ?? (label !== "" && label !== "not known");
  return (
    <Link
      href={`/dictionaries/${encodeURIComponent(dictionary)}/features/${latent}`}
      className="feature-link"
    >
      <span className="mono feature-number">{latent}</span> <Label label={label} known={sure} />
    </Link>
  );
}
