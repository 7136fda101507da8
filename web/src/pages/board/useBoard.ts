/** What the board page asks the server. */
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { client, data, type Schemas } from "../../api/client";
import type { Game } from "./game";

const key = (run: string) => ["othello", run] as const;
const gameKey = (run: string, game: string) => [...key(run), "game", game] as const;

export const usePlayers = () =>
  useQuery({
    queryKey: ["othello"],
    queryFn: ({ signal }) => data<Schemas["Players"]>(client.GET("/api/othello", { signal })),
    staleTime: 2_000,
  });

export const usePlayer = (run: string) =>
  useQuery({
    queryKey: [...key(run), "player"],
    queryFn: ({ signal }) =>
      data<Schemas["PlayerPage"]>(
        client.GET("/api/othello/{run}", { params: { path: { run } }, signal }),
      ),
    retry: false,
  });

const askGame = (run: string, game: string, signal: AbortSignal | null = null) =>
  data<Game>(
    client.POST("/api/othello/{run}/game", { params: { path: { run } }, body: { game }, signal }),
  );

const askRandom = (run: string, seed: number) =>
  data<Game>(
    client.GET("/api/othello/{run}/random", { params: { path: { run }, query: { seed } } }),
  );

/** The game of an address; a random one where it has none, the same for everybody. */
export const useGame = (run: string, game: string | null, enabled: boolean) =>
  useQuery({
    queryKey: gameKey(run, game ?? "random"),
    queryFn: ({ signal }) => (game === null ? askRandom(run, 0) : askGame(run, game, signal)),
    enabled,
    retry: false,
    staleTime: Infinity,
    placeholderData: keepPreviousData,
  });

/** Another game, which the page knows then without asking again. */
export function useOtherGame(run: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (game: string | null) =>
      game === null ? askRandom(run, Math.floor(Math.random() * 2 ** 31)) : askGame(run, game),
    onSuccess: (found) => queries.setQueryData(gameKey(run, found.game), found),
  });
}

/** What the model makes of a game, with the latents of a dictionary. */
export const useRead = (run: string, game: string, dictionary: string | null) =>
  useQuery({
    queryKey: [...key(run), "read", game, dictionary],
    queryFn: ({ signal }) =>
      data<Schemas["GameRead"]>(
        client.POST("/api/othello/{run}/read", {
          params: { path: { run } },
          body: { game, dictionary },
          signal,
        }),
      ),
    enabled: game !== "",
    retry: false,
    staleTime: Infinity,
  });

/** Traces the logit of a square, once for each; afterwards lists of graphs and runs are asked for again. */
export function useTrace(run: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (body: Schemas["SquareRequest"]) =>
      queries.fetchQuery({
        queryKey: [...key(run), "trace", body],
        queryFn: () =>
          data<Schemas["TraceAnswer"]>(
            client.POST("/api/othello/{run}/trace", { params: { path: { run } }, body }),
          ),
        staleTime: Infinity,
        retry: false,
      }),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["graphs"] });
      void queries.invalidateQueries({ queryKey: ["home"] });
    },
  });
}
