import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Route } from "wouter";
import type { Schemas } from "../../api/client";

type Page = Schemas["FeaturePage"];

/** The client takes the browser's `fetch` when it is loaded, so the stand-in is there before. */
const server = vi.hoisted(() => {
  const answer = vi.fn<(request: Request) => Promise<unknown>>();
  globalThis.fetch = async (input) => {
    const body = await answer(input as Request);
    return new Response(JSON.stringify(body), { headers: { "Content-Type": "application/json" } });
  };
  return { answer };
});
const { default: FeaturePage } = await import("./FeaturePage");

const HOSTILE = '<img src=x onerror="alert(1)">';

function page(latent: number, part: Partial<Page> = {}): Page {
  const token = (text: string, value: number) => ({ text, ids: [1], bytes: "61", value });
  const passage = (position: number): Schemas["Passage"] => ({
    tokens: [token(HOSTILE, 0), token(" four", 2)],
    peak: 1,
    max: 2,
    context: 0,
    position,
    document: { title: "Walden" },
    held_out: true,
  });
  return {
    dictionary: { id: "d.12345678", name: "d", reads: "resid_post@1", writes: "resid_post@1" },
    atlas: "ab",
    latent,
    n_latents: 10,
    label: `label ${latent}`,
    known: true,
    sources: [
      {
        run: "r",
        explainer: "statistics",
        judge: "rule",
        label: `label ${latent}`,
        known: true,
        threshold: 0.6,
        precision: 0.9,
        recall: 0.8,
        scores: [
          {
            scorer: "detection",
            estimate: { value: 0.9, low: 0.7, high: 1, n: 20 },
            chance: 0.5,
            meaning: "Does it fire?",
          },
        ],
      },
    ],
    missed: [passage(64)],
    n_missed: 1,
    n_promised: 24,
    n_fired: 5,
    density: 0.01,
    mean: 1,
    max: 2,
    dead: false,
    dense: false,
    n_stretches: 4,
    n_documents: 2,
    document_share: 0.5,
    density_rank: 3,
    activations: { edges: [0, 1, 2], counts: [1, 4], scale: "linear" },
    densities: null,
    groups: [{ name: "top", low: 1, high: 2, share: 1, passages: [passage(0), passage(64)] }],
    peak_tokens: [],
    tokens: [],
    top_logits: [],
    bottom_logits: [],
    neighbours: [],
    coactive: [],
    note: { text: "", star: false, tags: [] },
    live: false,
    previous: latent > 0 ? latent - 1 : null,
    next: latent < 9 ? latent + 1 : null,
    provenance: { facts: [], snippets: [] },
    ...part,
  } as Page;
}

function show(part: Partial<Page> = {}) {
  server.answer.mockImplementation(async (request) => {
    if (request.method === "PUT") return request.clone().json();
    return page(Number(new URL(request.url).pathname.split("/").at(-1)), part);
  });
  history.replaceState(null, "", "/dictionaries/d.12345678/features/7");
  render(
    <QueryClientProvider
      client={new QueryClient({ defaultOptions: { queries: { staleTime: 1e6, retry: false } } })}
    >
      <Route path="/dictionaries/:id/features/:latent">
        {({ id, latent }) => <FeaturePage id={id} latent={Number(latent)} />}
      </Route>
    </QueryClientProvider>,
  );
}
const heading = async () => (await screen.findByRole("heading", { level: 1 })).textContent;
const written = () =>
  server.answer.mock.calls.map(([request]) => request).filter(({ method }) => method === "PUT");

beforeEach(() => {
  server.answer.mockReset();
  // jsdom lays nothing out, so it cannot scroll.
  Element.prototype.scrollIntoView = vi.fn();
});
afterEach(cleanup);

test("a feature shows its label, why it is shown, and its counter-examples", async () => {
  show();
  await screen.findByText(/detection is at least 0.70/);
  expect(await heading()).toBe("Feature 7 label 7");
  fireEvent.click(screen.getByRole("button", { name: /1 of 24 examples against it/ }));
  expect(screen.getByRole("tab", { selected: true }).textContent).toContain("Against the label");
  expect(
    screen.getAllByRole("listitem").filter((one) => one.className.includes("passage")),
  ).toHaveLength(1);
});

test("tokens and labels that look like HTML stay text", async () => {
  show({ label: HOSTILE });
  await waitFor(async () => expect(await heading()).toContain(HOSTILE));
  expect(screen.getAllByText(HOSTILE, { exact: false }).length).toBeGreaterThan(2);
  expect(document.querySelector("img")).toBeNull();
});

test("j and k go to the next feature and back", async () => {
  show();
  await screen.findByText("label 7");
  fireEvent.keyDown(document.body, { key: "j" });
  await screen.findByText("label 8");
  fireEvent.keyDown(document.body, { key: "k" });
  await screen.findByText("label 7");
  expect(window.location.pathname).toBe("/dictionaries/d.12345678/features/7");
});

test("s stars the feature at once", async () => {
  show();
  await screen.findByText("label 7");
  fireEvent.keyDown(document.body, { key: "s" });
  expect(await screen.findByText("Saved")).toBeTruthy();
  expect(await written()[0]?.json()).toEqual({ text: "", star: true, tags: [] });
  expect(screen.getByRole("button", { name: /Starred/ }).getAttribute("aria-pressed")).toBe("true");
});

test("a note that is being written goes to its own feature, also when one goes on", async () => {
  show();
  fireEvent.change(await screen.findByLabelText("Note"), { target: { value: "of seven" } });
  fireEvent.keyDown(document.body, { key: "j" });
  await screen.findByText("label 8");
  expect((screen.getByLabelText("Note") as HTMLTextAreaElement).value).toBe("");
  await waitFor(() => expect(written()).toHaveLength(1));
  expect(new URL(written()[0]?.url ?? "").pathname).toContain("/features/7/note");
});

test("without weights the page says why nothing can be tested, and a read-only server takes no stars", async () => {
  show({ note: null });
  await screen.findByText(/need the dictionary’s weights and its model/);
  expect(screen.getByRole("button", { name: "Star" })).toHaveProperty("disabled", true);
  fireEvent.keyDown(document.body, { key: "s" });
  expect(written()).toHaveLength(0);
});
