import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen, within } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import type { Schemas } from "../../api/client";

// The client takes the page's fetch when it is loaded, so the network's stand-in comes first.
const answer = vi.hoisted(() => {
  const stand = vi.fn<() => Promise<Response>>();
  globalThis.fetch = stand as typeof fetch;
  return stand;
});
const { default: HomePage } = await import("./HomePage");

const EMPTY: Schemas["Home"] = {
  version: "1.2.3",
  folders: ["runs"],
  read_only: false,
  models: [],
  suites: [],
  dictionaries: [],
  runs: [],
  problems: [],
};
const LINE: Schemas["DictionaryLine"] = {
  id: "a.12345678",
  name: "a",
  model: "m",
  reads: "resid_post@3",
  writes: "resid_post@3",
  layer: 3,
  part: "resid_post",
  n_latents: 512,
  expansion: 8,
  sparsity: "topk",
  status: "measured",
  has_atlas: false,
  explained_variance_centred: 0.83,
  run: "20260102-030405-first-0123abcd",
};

function show(home: Partial<Schemas["Home"]>) {
  answer.mockImplementation(async () => Response.json({ ...EMPTY, ...home }));
  render(
    <QueryClientProvider
      client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}
    >
      <HomePage />
    </QueryClientProvider>,
  );
}
afterEach(cleanup);

test("where nothing lies yet, it says which commands make something", async () => {
  show({});
  await screen.findByText("Nothing here yet");
  expect(screen.getByText("lmscope demo")).toBeTruthy();
});

test("what cannot be shown stands first, and the rest is shown", async () => {
  const problems = [1, 2, 3, 4, 5].map((n) => ({ where: `run${n}`, message: "It is damaged." }));
  show({ problems, dictionaries: [LINE] });
  const part = within(await screen.findByRole("region", { name: "Problems" }));
  expect(part.getAllByRole("listitem").length).toBeGreaterThanOrEqual(3);
  expect(part.getByText("2 more")).toBeTruthy();
  expect(screen.getByRole("link", { name: /resid_post@3/ }).getAttribute("href")).toBe(
    "/dictionaries/a.12345678",
  );
  expect(screen.getByRole("link", { name: "first" }).getAttribute("href")).toBe(
    "/runs/20260102-030405-first-0123abcd",
  );
});

test("many dictionaries are filtered by words and shown in full when asked", async () => {
  const dictionaries = Array.from({ length: 60 }, (_, i) => ({
    ...LINE,
    id: `a.${i}`,
    writes: `mlp_out@${i}`,
    reads: `mlp_out@${i}`,
  }));
  show({ dictionaries });
  const rows = () => screen.getAllByRole("link", { name: /mlp_out/ });
  await screen.findByText("Show all 60");
  expect(rows()).toHaveLength(40);
  fireEvent.click(screen.getByText("Show all 60"));
  expect(rows()).toHaveLength(60);
  fireEvent.change(screen.getByRole("searchbox"), { target: { value: "mlp_out@59 TOPK" } });
  expect(rows()).toHaveLength(1);
  fireEvent.change(screen.getByRole("searchbox"), { target: { value: "jumprelu" } });
  expect(screen.getByText("None of the 60 dictionaries fits.")).toBeTruthy();
});

test("a refusal is said with its hint, and can be asked again", async () => {
  answer.mockImplementation(async () =>
    Response.json(
      { error: { code: "damaged", message: "The library is damaged.", hint: "Run doctor." } },
      { status: 424 },
    ),
  );
  render(
    <QueryClientProvider
      client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}
    >
      <HomePage />
    </QueryClientProvider>,
  );
  expect((await screen.findByRole("alert")).textContent).toMatch(/damaged\.Run doctor\./);
  answer.mockImplementation(async () => Response.json(EMPTY));
  fireEvent.click(screen.getByText("Try again"));
  await screen.findByText("Nothing here yet");
});

test("a read-only server says so", async () => {
  show({ read_only: true });
  expect(await screen.findByText("read-only")).toBeTruthy();
});
