import { count } from "../../ui/format";

/** `1 run`, `6 runs`. */
export const counted = (n: number, one: string, several: string) =>
  `${count(n)} ${n === 1 ? one : several}`;
