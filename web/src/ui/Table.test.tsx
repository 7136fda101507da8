import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import { type Column, Table } from "./Table";

interface Row {
  name: string;
  ev: number | null;
}
const ROWS: Row[] = [
  { name: "layer 2", ev: 0.5 },
  { name: "layer 10", ev: null },
  { name: "layer 1", ev: 0.9 },
];
const COLUMNS: Column<Row>[] = [
  { id: "name", title: "Name", cell: (row) => row.name, value: (row) => row.name },
  { id: "ev", title: "EV", numeric: true, cell: (row) => row.ev, value: (row) => row.ev },
];
const shown = () =>
  [...document.querySelectorAll("tbody tr")].map((row) => row.firstChild?.textContent);

afterEach(cleanup);

test("numbers sort from large to small first, missing ones last both ways", () => {
  render(<Table caption="x" columns={COLUMNS} rows={ROWS} rowKey={({ name }) => name} />);
  expect(shown()).toEqual(["layer 2", "layer 10", "layer 1"]);
  fireEvent.click(screen.getByRole("button", { name: /EV/ }));
  expect(shown()).toEqual(["layer 1", "layer 2", "layer 10"]);
  expect(screen.getByRole("columnheader", { name: /EV/ }).ariaSort).toBe("descending");
  fireEvent.click(screen.getByRole("button", { name: /EV/ }));
  expect(shown()).toEqual(["layer 2", "layer 1", "layer 10"]);
});

test("names sort with their numbers as numbers", () => {
  const sort = { id: "name", descending: false };
  render(
    <Table caption="x" columns={COLUMNS} rows={ROWS} rowKey={({ name }) => name} sort={sort} />,
  );
  expect(shown()).toEqual(["layer 1", "layer 2", "layer 10"]);
});
