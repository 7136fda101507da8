/** What the list of features shows, kept in the address so that it can be sent to somebody. */
import type { operations } from "../../api/schema";

type Query = NonNullable<
  operations["features_api_dictionaries__dictionary__features_get"]["parameters"]["query"]
>;
export type Order = NonNullable<Query["order"]>;
type Flag = "known" | "dead" | "dense" | "starred";

export interface ListQuery {
  order: Order;
  label: string;
  token: string;
  tag: string;
  near: string;
  /** In percent, as typed. */
  min: string;
  max: string;
  known: string;
  dead: string;
  dense: string;
  starred: string;
}

export const TEXTS = ["label", "token", "tag", "near", "min", "max"] as const;
export const FLAGS: readonly Flag[] = ["known", "dead", "dense", "starred"];

const ORDERS = new Set([
  "latent",
  "n_fired",
  "density",
  "mean",
  "max",
  "n_documents",
  "document_share",
  "detection",
]);

/** From the address; what makes no sense is left out. */
export function read(params: URLSearchParams, hasLabels = false): ListQuery {
  // What is searched by comes ranked by how well it fits, under the order `latent`.
  const searched = ["label", "token", "near"].some((name) => params.get(name)?.trim());
  const order = params.get("order") ?? (hasLabels && !searched ? "-detection" : "latent");
  const flag = (name: Flag) => {
    const value = params.get(name);
    return value === "true" || value === "false" ? value : "";
  };
  return {
    order: (ORDERS.has(order.replace(/^-/, "")) ? order : "latent") as Order,
    label: params.get("label") ?? "",
    token: params.get("token") ?? "",
    tag: params.get("tag") ?? "",
    near: params.get("near") ?? "",
    min: params.get("min") ?? "",
    max: params.get("max") ?? "",
    known: flag("known"),
    dead: flag("dead"),
    dense: flag("dense"),
    starred: flag("starred"),
  };
}

/** Into the address, beside what else stands there; who asks for neighbours wants the nearest first. */
export function written(params: URLSearchParams, changes: Partial<ListQuery>): URLSearchParams {
  const next = new URLSearchParams(params);
  if (changes.near) next.delete("order");
  for (const [name, value] of Object.entries(changes))
    if (value === "") next.delete(name);
    else next.set(name, value);
  return next;
}

/** How many filters hold, order left aside. */
export const filtersIn = (list: ListQuery) =>
  [...TEXTS, ...FLAGS].filter((name) => list[name].trim() !== "").length;

const fraction = (percent: string) => {
  const value = Number(percent.replace(",", ".")) / 100;
  return percent.trim() !== "" && value >= 0 && value <= 1 ? value : undefined;
};

/** As the server takes it. */
export function asked(list: ListQuery, atlas: string | null): Query {
  const near = Number(list.near);
  const minimum = fraction(list.min);
  const maximum = fraction(list.max);
  return {
    order: list.order,
    ...(atlas ? { atlas } : {}),
    ...(list.label.trim() ? { label: list.label.trim() } : {}),
    // A blank in front belongs to the token.
    ...(list.token.trim() ? { token: list.token } : {}),
    ...(list.tag.trim() ? { tag: list.tag.trim() } : {}),
    ...(list.near.trim() && Number.isInteger(near) && near >= 0 ? { near } : {}),
    ...(minimum === undefined ? {} : { min_density: minimum }),
    ...(maximum === undefined ? {} : { max_density: maximum }),
    ...Object.fromEntries(
      FLAGS.flatMap((name) => (list[name] ? [[name, list[name] === "true"]] : [])),
    ),
  };
}

/** The order after a click on a column: figures from the largest first, then the other way round. */
export function turned(order: Order, column: string): Order {
  const first = column === "latent" ? column : `-${column}`;
  const second = column === "latent" ? `-${column}` : column;
  return (order === first ? second : first) as Order;
}
