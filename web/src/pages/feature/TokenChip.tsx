import { visible } from "../../ui/glyphs";

/** A token of the vocabulary with its blanks as signs. */
export function TokenChip({ text, id }: { text: string; id?: number }) {
  return (
    <bdi className="token-chip mono" title={id === undefined ? undefined : `token ${id}`}>
      {visible(text, { showWhitespace: true, breakLines: false }) || "∅"}
    </bdi>
  );
}
