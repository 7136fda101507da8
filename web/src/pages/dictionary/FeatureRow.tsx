import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { fixed } from "../../ui/format";
import { Label } from "../../ui/Label";
import { visible } from "../../ui/glyphs";
import { COLUMNS } from "./columns";

interface Props {
  line: Schemas["FeatureLine"];
  href: string;
  valueShown: boolean;
  starred: boolean;
  onStar: () => void;
}

/** A feature in a line. */
export function FeatureRow({ line, href, valueShown, starred, onStar }: Props) {
  return (
    <div className="feature-grid">
      <button
        type="button"
        className={starred ? "star on" : "star"}
        aria-pressed={starred}
        aria-label={`Star feature ${line.latent}`}
        onClick={onStar}
      >
        {starred ? "★" : "☆"}
      </button>
      <span className="feature-name">
        <Link href={href} className="feature-link">
          <span className="mono feature-number">{line.latent}</span>{" "}
          <Label label={line.label} known={line.known} />
        </Link>
        {line.dead && (
          <span className="chip" title="It fired nowhere in the atlas's text.">
            dead
          </span>
        )}
        {line.dense && (
          <span className="chip" title="It fires on more than 10 % of the tokens.">
            dense
          </span>
        )}
      </span>
      {COLUMNS.map(({ id, text, wide }) => (
        <span key={id} className={wide ? "number wide" : "number"}>
          {text(line)}
        </span>
      ))}
      {valueShown && <span className="number">{fixed(line.value, 3)}</span>}
      <span className="wide mono peak">
        {line.peak !== null && (
          <bdi>{visible(line.peak, { showWhitespace: true, breakLines: false })}</bdi>
        )}
      </span>
    </div>
  );
}
