import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { VirtualList } from "./VirtualList";

const TOTAL = 131_072;

/** jsdom lays nothing out: the list is given the size of a screen. */
beforeEach(() => {
  vi.spyOn(HTMLElement.prototype, "offsetHeight", "get").mockReturnValue(600);
  vi.spyOn(Element.prototype, "clientHeight", "get").mockReturnValue(600);
  vi.spyOn(Element.prototype, "scrollHeight", "get").mockReturnValue(TOTAL * 30);
  HTMLElement.prototype.scrollTo = function (this: HTMLElement, to?: ScrollToOptions | number) {
    this.scrollTop = typeof to === "object" ? (to.top ?? 0) : 0;
    this.dispatchEvent(new Event("scroll"));
  };
});
afterEach(() => {
  cleanup();
  vi.restoreAllMocks();
});

function show(load: (offset: number, limit: number) => Promise<string[]>, onActivate = vi.fn()) {
  render(
    <QueryClientProvider
      client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}
    >
      <VirtualList
        total={TOTAL}
        rowHeight={30}
        load={load}
        renderRow={(row) => row}
        onActivate={onActivate}
        label="Rows"
      />
    </QueryClientProvider>,
  );
  return onActivate;
}
const rows = async (offset: number, limit: number) =>
  Array.from({ length: limit }, (_, i) => `row ${offset + i}`);

test("only what is seen is drawn, and rows come by the hundred", async () => {
  const load = vi.fn(rows);
  show(load);
  await screen.findByText("row 0");
  expect(screen.getAllByRole("listitem").length).toBeLessThan(60);
  expect(load.mock.calls).toEqual([[0, 100]]);
});

test("End goes to the last row of all, k one back, Enter opens it", async () => {
  const load = vi.fn(rows);
  const opened = show(load);
  await screen.findByText("row 0");
  fireEvent.keyDown(screen.getByRole("list"), { key: "End" });
  await screen.findByText(`row ${TOTAL - 1}`);
  expect(load.mock.lastCall).toEqual([131_000, 72]);
  await waitFor(() => expect(document.activeElement?.textContent).toBe(`row ${TOTAL - 1}`));
  fireEvent.keyDown(document.activeElement!, { key: "k" });
  await waitFor(() => expect(document.activeElement?.textContent).toBe(`row ${TOTAL - 2}`));
  fireEvent.keyDown(document.activeElement!, { key: "Enter" });
  expect(opened).toHaveBeenCalledWith(`row ${TOTAL - 2}`, TOTAL - 2);
});

test("a stretch that cannot be loaded says why and can be asked for again", async () => {
  const load = vi.fn(rows).mockRejectedValueOnce(new Error("The server does not answer."));
  show(load);
  expect((await screen.findByRole("alert")).textContent).toContain("The server does not answer.");
  fireEvent.click(screen.getByRole("button", { name: "Try again" }));
  await screen.findByText("row 0");
  expect(screen.queryByRole("alert")).toBeNull();
});
