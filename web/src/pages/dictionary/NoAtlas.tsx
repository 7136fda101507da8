import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { CopyButton } from "../../ui/CopyButton";

/** What to do about a dictionary of which nobody has written down where its latents fire. */
export function NoAtlas({ line }: { line: Schemas["DictionaryLine"] }) {
  const command = `lmscope atlas build ${line.run ?? "RUN"}`;
  return (
    <div className="state">
      <p>
        This dictionary has no atlas yet. An atlas reads text once and writes down for every latent
        where it fires, so that features can be listed, searched and mapped.
      </p>
      <div className="command">
        <pre tabIndex={0} aria-label="Command to build an atlas">
          {command}
        </pre>
        <CopyButton text={command} name="Copy as command" />
        {line.run && (
          <Link className="button" href={`/jobs?verb=atlas&run=${encodeURIComponent(line.run)}`}>
            Build it here
          </Link>
        )}
      </div>
    </div>
  );
}
