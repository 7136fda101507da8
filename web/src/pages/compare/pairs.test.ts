import { expect, test } from "vitest";
import type { Schemas } from "../../api/client";
import { worthComparing } from "./pairs";

function line(id: string, part: string, layer: number, n_latents: number, model = "m") {
  const site = `${part}@${layer}`;
  const rest = { id, model, part, layer, n_latents, reads: site, writes: site };
  return rest as unknown as Schemas["DictionaryLine"];
}
const ids = (lines: Schemas["DictionaryLine"][], most = 9) =>
  worthComparing(lines, most).map(([a, b]) => `${a.id} ${b.id}`);

test("another width of the same site comes first, the narrow one in front", () => {
  const lines = [
    line("wide", "resid_post", 7, 8192),
    line("far", "resid_post", 14, 4096),
    line("narrow", "resid_post", 7, 4096),
  ];
  expect(ids(lines)).toEqual(["narrow wide", "far wide", "far narrow"]);
  expect(ids(lines, 1)).toEqual(["narrow wide"]);
});

test("other parts of the model and other models are no pairs", () => {
  expect(ids([line("a", "resid_post", 7, 64), line("b", "mlp_out", 7, 64)])).toEqual([]);
  expect(ids([line("a", "mlp_out", 7, 64), line("b", "mlp_out", 7, 64, "n")])).toEqual([]);
});
