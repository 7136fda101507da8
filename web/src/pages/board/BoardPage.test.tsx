import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Route } from "wouter";
import type { Schemas } from "../../api/client";

type Asked = { path: string; body: Record<string, unknown> };

/** The client takes the browser's `fetch` when it is loaded, so the stand-in is there before. */
const server = vi.hoisted(() => {
  const answer = vi.fn<(asked: Asked) => unknown>();
  const asked: Asked[] = [];
  globalThis.fetch = async (input) => {
    const request = input as Request;
    const text = await request.text();
    const one = {
      path: new URL(request.url).pathname,
      body: text ? JSON.parse(text) : {},
    } as Asked;
    asked.push(one);
    const found = answer(one) as { error?: unknown };
    return new Response(JSON.stringify(found), {
      status: found.error ? 422 : 200,
      headers: { "Content-Type": "application/json" },
    });
  };
  return { answer, asked };
});
const { default: BoardPage } = await import("./BoardPage");

const HOSTILE = '<img src=x onerror="alert(1)">';
const START = {
  move: null,
  by: null,
  black: [15, 20],
  white: [14, 21],
  flipped: [],
  legal: [8, 13, 22, 27],
  next: "black",
  passed: false,
};
const AFTER = {
  ...START,
  move: 8,
  by: "black",
  black: [8, 14, 15, 20],
  white: [21],
  flipped: [14],
  legal: [7, 9, 19],
  next: "white",
};
const PLAYER = {
  player: { run: "r", name: HOSTILE, size: 6, status: "done", legal_top1: 0.9, n_dictionaries: 1 },
  dictionaries: [{ id: "d.1", name: "d", reads: "mlp_out@0", writes: "mlp_out@0" }],
  labelled: ["d.1"],
  sources: ["s"],
  read_only: false,
  problems: [],
};
const probabilities = Array.from({ length: 36 }, (_, i) => (i === 7 ? 0.75 : i === 0 ? 0.2 : 0));
const said = (label: string, threshold: number) => ({
  label,
  threshold,
  f1: 0.8,
  precision: 0.8,
  recall: 0.8,
});
const READ = {
  moves: [
    { probabilities, legal_mass: 0.8, counts: true, latents: [{ latent: 5, value: 2 }], n_on: 1 },
  ],
  latents: [
    {
      latent: 5,
      says: [said("legal b2", 1), said("mine a1", 3), said(HOSTILE, 0)],
      label: "",
      label_known: false,
    },
  ],
  problems: [],
  elapsed_s: 0.1,
} satisfies Schemas["GameRead"];

beforeEach(() => {
  server.asked.length = 0;
  server.answer.mockReset();
  server.answer.mockImplementation(({ path, body }) => {
    if (path.endsWith("/game") && body.game !== "c2")
      return { error: { code: "wrong_input", message: `${String(body.game)} is refused.` } };
    if (path.endsWith("/game") || path.endsWith("/random"))
      return { game: "c2", size: 6, places: [START, AFTER] };
    if (path.endsWith("/read")) return READ;
    if (path.includes("/graphs/")) return { error: { code: "not_found", message: "No graph." } };
    if (path.endsWith("/trace")) return { run: "t", name: "0000-c2", elapsed_s: 1 };
    return PLAYER;
  });
  window.matchMedia = vi.fn().mockReturnValue({ matches: false, addEventListener: vi.fn() });
  history.replaceState(null, "", "/othello/r?game=c2&at=1");
});
afterEach(cleanup);

function show() {
  const queries = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  render(
    <QueryClientProvider client={queries}>
      <Route path="/othello/:run">{({ run }) => <BoardPage run={run} />}</Route>
    </QueryClientProvider>,
  );
}
const square = (name: RegExp) => screen.findByRole("gridcell", { name });

test("squares say what lies on them, what is legal and what the model gives them", async () => {
  show();
  await square(/^c2, black disc, just taken, probability 0 %$/);
  await square(/^c3, black disc, just turned/);
  await square(/^b2, empty, legal, probability 75 %$/);
  await square(/^a1, empty, probability 20 %$/);
  expect(screen.getAllByRole("gridcell")).toHaveLength(36);
  screen.getByText("The model gives 80 % to legal moves.");
  expect(screen.getByRole("heading", { level: 1 }).textContent).toBe(HOSTILE);
});

test("keys step through the game, and before the first move the model says nothing", async () => {
  show();
  await square(/^b2, empty, legal, probability/);
  fireEvent.keyDown(window, { key: "ArrowLeft" });
  await screen.findByText("The start. 2 black, 2 white. Black moves next.");
  await square(/^c2, empty, legal$/);
  expect(new URLSearchParams(location.search).get("at")).toBe("0");
  fireEvent.keyDown(window, { key: "e" });
  await screen.findByText(/^Move 1 of 1: black took c2/);
});

test("a feature's row marks the squares that it speaks of, and tells what is so", async () => {
  show();
  const row = (await screen.findByRole("link", { name: "5" })).closest("li");
  expect(row).not.toBeNull();
  if (!row) return;
  within(row).getByText("true here");
  expect(within(row).getByText("mine a1").closest(".said")?.className).toContain("silent");
  within(row).getByText(HOSTILE);
  fireEvent.focus(within(row).getByRole("link"));
  await square(/^b2, .*spoken of$/);
  await square(/^a1, .*spoken of$/);
  fireEvent.blur(within(row).getByRole("link"));
  await waitFor(() => expect(screen.queryByRole("gridcell", { name: /spoken of/ })).toBeNull());
});

test("arrows in the board choose squares and do not step through the game", async () => {
  show();
  const taken = await square(/^c2,/);
  fireEvent.keyDown(taken, { key: "ArrowRight" });
  await waitFor(() => expect(new URLSearchParams(location.search).get("square")).toBe("d2"));
  expect(new URLSearchParams(location.search).get("at")).toBe("1");
  expect((await square(/^d2,/)).getAttribute("aria-selected")).toBe("true");
});

test("a chosen square is traced after the moves that are shown, and its graph opens", async () => {
  show();
  fireEvent.click(await square(/^b2,/));
  fireEvent.click(await screen.findByRole("button", { name: "Trace the logit of b2" }));
  await waitFor(() => expect(location.pathname).toBe("/graphs/t/0000-c2"));
  const traced = server.asked.find(({ path }) => path.endsWith("/trace"));
  expect(traced?.body).toEqual({
    game: "c2",
    at: 1,
    square: 7,
    dictionaries: "s",
    threshold: null,
  });
});

test("where there is room a click on a square traces it, once", async () => {
  window.matchMedia = vi.fn().mockReturnValue({ matches: true, addEventListener: vi.fn() });
  show();
  fireEvent.click(await square(/^b2,/));
  await waitFor(() => expect(new URLSearchParams(location.search).get("graph")).toBe("t/0000-c2"));
  expect(new URLSearchParams(location.search).get("square")).toBe("b2");
  fireEvent.click(await square(/^b2,/));
  fireEvent.click(await square(/^d4,/)); // from the start: it has no logit
  await screen.findByText("It is taken from the start, so the model has no logit for it.");
  expect(server.asked.filter(({ path }) => path.endsWith("/trace"))).toHaveLength(1);
});

test("squares of the start have no logit, and say so", async () => {
  show();
  fireEvent.click(await square(/^d4,/));
  await screen.findByText("It is taken from the start, so the model has no logit for it.");
  const button = screen.getByRole<HTMLButtonElement>("button", { name: "Trace the logit of d4" });
  expect(button.disabled).toBe(true);
});

test("a game that is refused leaves the board as it is", async () => {
  show();
  await square(/^b2, empty, legal, probability/);
  fireEvent.change(screen.getByRole("textbox", { name: "Game" }), { target: { value: HOSTILE } });
  fireEvent.click(screen.getByRole("button", { name: "Show" }));
  expect((await screen.findByRole("alert")).textContent).toBe(`${HOSTILE} is refused.`);
  await square(/^b2, empty, legal, probability/);
});
