/** Words and figures that the search pages share. */
import { fixed, NONE } from "../../ui/format";

/** Which dictionaries are asked where none is chosen. */
export const everywhere = (n: number) =>
  n === 1 ? "in the only dictionary with an atlas" : `in all ${n} dictionaries with an atlas`;

/** A share in percent, with its point in one place down a column. */
export const columnShare = (x: number | null, decimals = 3) =>
  x === null ? NONE : `${fixed(100 * x, decimals)} %`;
