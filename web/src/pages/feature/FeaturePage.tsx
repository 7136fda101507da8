import { Link, useSearch } from "wouter";
import { RequestFailed } from "../../api/client";
import { Failed, Loading } from "../../ui/states";
import { FeatureView } from "./FeatureView";
import { useFeature } from "./useFeature";
import "./FeaturePage.css";

const isMissing = (error: unknown) => error instanceof RequestFailed && error.status === 404;

/** One feature of a dictionary: what it may mean, how far that can be trusted, and where it fires. */
export default function FeaturePage({ id, latent }: { id: string; latent: number }) {
  const atlas = new URLSearchParams(useSearch()).get("atlas");
  const page = useFeature(id, latent, atlas);
  const back = <Link href={`/dictionaries/${encodeURIComponent(id)}`}>All features of {id}</Link>;
  if (!Number.isInteger(latent) || latent < 0)
    return (
      <>
        <h1>No such feature</h1>
        <Failed error="A feature is named by its number, as in …/features/17." />
        {back}
      </>
    );
  if (page.isError)
    return (
      <>
        <h1>Feature {latent}</h1>
        {isMissing(page.error) ? (
          <Failed error={page.error} />
        ) : (
          <Failed error={page.error} retry={() => void page.refetch()} />
        )}
        {back}
      </>
    );
  if (!page.data)
    return (
      <>
        <h1>Feature {latent}</h1>
        <Loading what="what the atlas knows of it" />
      </>
    );
  return <FeatureView page={page.data} latent={latent} stale={page.isPlaceholderData} />;
}
