import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { FeatureFilters } from "./FeatureFilters";
import { read } from "./listQuery";

beforeEach(() => vi.useFakeTimers());
afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

const list = (text = "") => read(new URLSearchParams(text));

it("asks when typing pauses, not at every letter", () => {
  const changed = vi.fn();
  render(<FeatureFilters list={list()} onChange={changed} />);
  const box = screen.getByLabelText("Label");
  for (const text of ["r", "ri", "river"]) fireEvent.change(box, { target: { value: text } });
  expect(changed).not.toHaveBeenCalled();
  act(() => vi.advanceTimersByTime(300));
  expect(changed.mock.calls).toEqual([[{ label: "river" }]]);
});

it("shows what the address says when it changes under what was typed", () => {
  const { rerender } = render(<FeatureFilters list={list()} onChange={vi.fn()} />);
  fireEvent.change(screen.getByLabelText("Label"), { target: { value: "river" } });
  rerender(<FeatureFilters list={list("label=sea")} onChange={vi.fn()} />);
  expect(screen.getByLabelText<HTMLInputElement>("Label").value).toBe("sea");
});

it("forgets what was typed once it has arrived, so that it can be cleared", () => {
  const changed = vi.fn();
  const { rerender } = render(<FeatureFilters list={list()} onChange={changed} />);
  fireEvent.change(screen.getByLabelText("Label"), { target: { value: "river" } });
  rerender(<FeatureFilters list={list("label=river")} onChange={changed} />);
  rerender(<FeatureFilters list={list()} onChange={changed} />);
  act(() => vi.advanceTimersByTime(300));
  expect(screen.getByLabelText<HTMLInputElement>("Label").value).toBe("");
  expect(changed).not.toHaveBeenCalled();
});

it("clears everything at once, and can only where something is filled in", () => {
  const changed = vi.fn();
  const { rerender } = render(<FeatureFilters list={list()} onChange={changed} />);
  expect(screen.getByRole<HTMLButtonElement>("button", { name: "Clear" }).disabled).toBe(true);
  rerender(<FeatureFilters list={list("known=true&near=3")} onChange={changed} />);
  fireEvent.click(screen.getByRole("button", { name: "Clear" }));
  expect(changed.mock.calls[0]?.[0]).toMatchObject({ known: "", near: "", label: "" });
});
