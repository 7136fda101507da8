import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, expect, it } from "vitest";
import { Router } from "wouter";
import { memoryLocation } from "wouter/memory-location";
import { HeatMap } from "./HeatMap";
import type { Line } from "./layout";
import { MEASURES } from "./measures";

afterEach(cleanup);

const line = (layer: number, value: number | null, status = "measured"): Line => ({
  id: `d${layer}`,
  name: `<b>mlp_out-${layer}</b>`,
  model: "tiny",
  reads: `mlp_out@${layer}`,
  writes: `mlp_out@${layer}`,
  layer,
  part: "mlp_out",
  n_latents: 64,
  expansion: 8,
  sparsity: "topk",
  explained_variance_centred: value,
  status,
  has_atlas: false,
});

function shown(lines: Line[]) {
  const { hook, history } = memoryLocation({ path: "/suites/a", record: true });
  render(
    <Router hook={hook}>
      <HeatMap lines={lines} measure={MEASURES[0]!} />
    </Router>,
  );
  return { links: screen.getAllByRole("link"), history };
}

it("is one stop for Tab, within which arrow keys move", () => {
  const { links } = shown([line(1, 0.5), line(2, 0.9)]);
  expect(links.map(({ tabIndex }) => tabIndex)).toEqual([0, -1]);
  fireEvent.focus(links[0]!);
  fireEvent.keyDown(links[0]!, { key: "ArrowRight" });
  expect(document.activeElement).toBe(links[1]);
  expect(links.map(({ tabIndex }) => tabIndex)).toEqual([-1, 0]);
});

it("says a cell's figure in its name, or why there is none, and takes a name as text", () => {
  const { links } = shown([line(1, 0.5), line(2, null, "waiting"), line(3, null, "failed")]);
  expect(links.map((link) => [link.getAttribute("aria-label"), link.textContent])).toEqual([
    ["<b>mlp_out-1</b>: Explained variance 50, 0.500", "50"],
    ["<b>mlp_out-2</b>: Explained variance waits for its training", "…"],
    ["<b>mlp_out-3</b>: Explained variance failed", "✕"],
  ]);
});

it("opens a dictionary without loading the app again", () => {
  const { links, history } = shown([line(1, 0.5)]);
  fireEvent.click(links[0]!);
  expect(history.at(-1)).toBe("/dictionaries/d1");
});

it("shows all figures of a cell while it is pointed at", () => {
  const { links } = shown([line(1, 0.5)]);
  fireEvent.pointerOver(links[0]!);
  expect(document.querySelector(".cell-tip")?.textContent).toContain("64 latents, topk");
  fireEvent.pointerLeave(screen.getByRole("table"));
  expect(document.querySelector(".cell-tip")).toBeNull();
});
