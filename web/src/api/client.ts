/** Requests to the server, with its own types, and failures that can be read aloud. */
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

export class RequestFailed extends Error {
  constructor(
    message: string,
    readonly code: string,
    readonly hint: string | null,
    readonly status: number,
  ) {
    super(message);
  }
}

const failures: Middleware = {
  async onResponse({ response }) {
    if (response.ok) return undefined;
    const body: unknown = await response
      .clone()
      .json()
      .catch(() => null);
    const error = (body as Schemas["FailureEnvelope"] | null)?.error;
    throw new RequestFailed(
      error?.message ?? `The server answered ${response.status}.`,
      error?.code ?? "unknown",
      error?.hint ?? null,
      response.status,
    );
  },
  onError() {
    return new RequestFailed(
      "The server does not answer.",
      "offline",
      "Is `lmscope serve` still running?",
      0,
    );
  },
};

export const client = createClient<paths>({
  baseUrl: window.location.origin,
  // The server refuses writes without this header, which no other site can send.
  headers: { "X-Lmscope": "1" },
  querySerializer: { array: { style: "form", explode: true } },
});
client.use(failures);

/** What openapi-fetch makes of a type: its pairs lose their length. */
type Read<T> = T extends (infer E)[]
  ? Read<E>[]
  : T extends object
    ? { [K in keyof T]: Read<T[K]> }
    : T;

/** The data of an answer; what is refused was thrown already. Name the type to get its pairs back. */
export async function data<T>(answer: Promise<{ data?: T | undefined }>): Promise<T>;
export async function data<T>(answer: Promise<{ data?: Read<T> | undefined }>): Promise<T>;
export async function data<T>(answer: Promise<{ data?: unknown }>): Promise<T> {
  return (await answer).data as T;
}
