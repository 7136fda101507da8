import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { client, data } from "../../api/client";

/** A model's name, with a link to all of its dictionaries where only one model has that name. */
export function ModelName({ name }: { name: string }) {
  const home = useQuery({ queryKey: ["home"], queryFn: () => data(client.GET("/api/home")) });
  const found = home.data?.models.filter((model) => model.name === name) ?? [];
  const model = found.length === 1 ? found[0] : undefined;
  if (!model) return <>{name}</>;
  return <Link href={`/models/${encodeURIComponent(model.id)}`}>{name}</Link>;
}
