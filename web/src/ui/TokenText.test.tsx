import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import type { Schemas } from "../api/client";
import { TokenText } from "./TokenText";

const token = (text: string, value = 0): Schemas["Token"] => ({
  text,
  value,
  ids: [7],
  bytes: "6162",
});
const WORDS = Array.from({ length: 80 }, (_, i) => token(` w${i}`, i === 40 ? 8 : 0));

afterEach(cleanup);

test("a snippet is cut around its peak, the whole text is not", () => {
  const { container, rerender } = render(
    <TokenText tokens={WORDS} full={8} peak={40} wrap="snippet" />,
  );
  expect(container.querySelectorAll(".token")).toHaveLength(33);
  expect(container.querySelectorAll(".cut")).toHaveLength(2);
  expect(container.querySelector(".peak")?.textContent).toBe(" w40");
  rerender(<TokenText tokens={WORDS} full={8} peak={40} wrap="full" />);
  expect(container.querySelectorAll(".token")).toHaveLength(80);
});

test("hovering a token shows its value, id and bytes; leaving hides them", () => {
  const { container } = render(<TokenText tokens={WORDS} full={8} peak={40} />);
  fireEvent.pointerOver(container.querySelector('[data-at="40"]')!);
  expect(screen.getByRole("tooltip").textContent).toMatch(/·w40.*8\.000.*id 7.*61 62/);
  fireEvent.pointerOver(container.querySelector('[data-at="3"]')!);
  expect(screen.getByRole("tooltip").textContent).toContain("does not fire");
  fireEvent.pointerLeave(screen.getByRole("group"));
  expect(screen.queryByRole("tooltip")).toBeNull();
});

test("arrow keys go from token to token beginning at the peak", () => {
  render(<TokenText tokens={WORDS} full={8} peak={40} />);
  const line = screen.getByRole("group");
  fireEvent.keyDown(line, { key: "ArrowLeft" });
  expect(screen.getByRole("tooltip").textContent).toContain("w39");
  fireEvent.keyDown(line, { key: "End" });
  expect(screen.getByRole("tooltip").textContent).toContain("w79");
  fireEvent.keyDown(line, { key: "Escape" });
  expect(screen.queryByRole("tooltip")).toBeNull();
});

test("hostile tokens stay text", () => {
  const hostile = '<img src=x onerror="alert(1)"></span><script>alert(2)</script>';
  const { container } = render(<TokenText tokens={[token(hostile, 1)]} full={1} peak={0} />);
  expect(container.querySelector("img, script")).toBeNull();
  expect(container.querySelector(".token")?.textContent).toBe(hostile);
});
