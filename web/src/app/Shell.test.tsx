import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Link, Route, Switch } from "wouter";
import { startTheme } from "../ui/useTheme";
import { Shell } from "./Shell";

/** jsdom opens no dialogs and knows no preferred colours. */
beforeEach(() => {
  window.matchMedia = vi.fn().mockReturnValue({ matches: false, addEventListener: vi.fn() });
  window.scrollTo = vi.fn() as typeof window.scrollTo;
  HTMLDialogElement.prototype.showModal = function () {
    this.open = true;
  };
  history.replaceState(null, "", "/");
  localStorage.clear();
  startTheme();
});
afterEach(cleanup);

function show() {
  render(
    <Shell>
      <Switch>
        <Route path="/">
          <h1>Home</h1>
          <Link href="/jobs">to the jobs</Link>
        </Route>
        <Route path="/jobs">
          <h1>Jobs</h1>
        </Route>
        <Route>
          <h1>Found</h1>
        </Route>
      </Switch>
    </Shell>,
  );
}
const press = (key: string) => fireEvent.keyDown(document.body, { key });

test("/ goes to the search box, and Enter to the search", async () => {
  show();
  press("/");
  const box = screen.getByRole("searchbox");
  expect(document.activeElement).toBe(box);
  fireEvent.change(box, { target: { value: " rivers & lakes " } });
  fireEvent.submit(box);
  await screen.findByText("Found");
  expect(location.pathname).toBe("/search");
  expect(new URLSearchParams(location.search).get("q")).toBe("rivers & lakes");
});

test("a search from the search page keeps the kind of search", async () => {
  history.replaceState(null, "", "/search?q=a&kind=token");
  show();
  const box = screen.getByRole<HTMLInputElement>("searchbox");
  expect(box.value).toBe("a");
  fireEvent.change(box, { target: { value: "b" } });
  fireEvent.submit(box);
  await waitFor(() => expect(new URLSearchParams(location.search).get("q")).toBe("b"));
  expect(new URLSearchParams(location.search).get("kind")).toBe("token");
});

test("going to another page names the document and moves the focus to its heading", async () => {
  show();
  expect(document.title).toBe("Home · lmscope");
  expect(document.activeElement).toBe(document.body);
  fireEvent.click(screen.getByText("to the jobs"));
  await waitFor(() => expect(document.activeElement?.textContent).toBe("Jobs"));
  expect(document.title).toBe("Jobs · lmscope");
  expect(window.scrollTo).toHaveBeenCalledWith(0, 0);
});

test("g h goes home, and ? lists the keys", async () => {
  history.replaceState(null, "", "/jobs");
  show();
  press("g");
  press("h");
  await screen.findByRole("heading", { name: "Home" });
  press("?");
  expect(screen.getByRole("dialog").textContent).toContain("Go to jobs");
});

test("the theme goes from the system's to light, dark and back, and is kept", () => {
  show();
  const button = screen.getByRole("button", { name: /^Theme/ });
  const seen = [1, 2, 3].map(() => {
    fireEvent.click(button);
    return [document.documentElement.dataset.theme, localStorage.getItem("lmscope-theme")];
  });
  expect(seen).toEqual([
    ["light", "light"],
    ["dark", "dark"],
    ["light", null],
  ]);
});

test("an embedded page stands without the bar", () => {
  history.replaceState(null, "", "/?embed=1");
  show();
  expect(screen.queryByRole("searchbox")).toBeNull();
  expect(screen.getByRole("heading").textContent).toBe("Home");
});
