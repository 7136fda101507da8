/** The columns of the list of features; each is also an order of the server. */
import type { Schemas } from "../../api/client";
import { count, fixed, number } from "../../ui/format";

type Line = Schemas["FeatureLine"];

export interface ListColumn {
  /** As the server orders by it. */
  id: string;
  title: string;
  info: string;
  text: (line: Line) => string;
  /** Left out where the screen is narrow. */
  wide: boolean;
}

export const COLUMNS: readonly ListColumn[] = [
  {
    id: "detection",
    title: "Detection",
    info: "How well the label tells text on which it fires from text on which it does not: 1 is always right, 0.5 is chance.",
    text: ({ detection }) => fixed(detection, 2),
    wide: true,
  },
  {
    id: "density",
    title: "Fires on",
    info: "Share of the atlas's tokens on which it fires.",
    text: ({ density }) => `${fixed(100 * density, 3)} %`,
    wide: false,
  },
  {
    id: "max",
    title: "Max",
    info: "Its largest activation in the atlas.",
    text: ({ max }) => number(max, 3),
    wide: true,
  },
  {
    id: "mean",
    title: "Mean",
    info: "Its mean activation where it fires.",
    text: ({ mean }) => number(mean, 3),
    wide: true,
  },
  {
    id: "n_documents",
    title: "Documents",
    info: "Documents of the atlas's text in which it fires.",
    text: ({ n_documents: n }) => count(n),
    wide: true,
  },
];
