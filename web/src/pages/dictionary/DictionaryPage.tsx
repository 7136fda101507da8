import { useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "wouter";
import { client, data, type Schemas } from "../../api/client";
import { ProvenanceDrawer } from "../../ui/ProvenanceDrawer";
import { NotShown } from "../../ui/NotShown";
import { Loading } from "../../ui/states";
import { type Tab, Tabs } from "../../ui/Tabs";
import { ProblemList } from "../run/ProblemList";
import { AboutTab } from "./AboutTab";
import { DictionaryHead } from "./DictionaryHead";
import { EvaluationTab } from "./EvaluationTab";
import { FeatureListTab } from "./FeatureListTab";
import { HeadFigures } from "./HeadFigures";
import { LatentsTab } from "./LatentsTab";
import { MapTab } from "./MapTab";
import { NoAtlas } from "./NoAtlas";
import { TrainingTab } from "./TrainingTab";
import "../run/RunPage.css";
import "./DictionaryPage.css";

type Page = Schemas["DictionaryPage"];

/** One dictionary: how good it is, how it was trained, and all of its features. */
export default function DictionaryPage({ id }: { id: string }) {
  const [query, setQuery] = useSearchParams();
  const {
    data: page,
    error,
    refetch,
  } = useQuery({
    queryKey: ["dictionaries", id],
    queryFn: () =>
      data<Page>(
        client.GET("/api/dictionaries/{dictionary}", { params: { path: { dictionary: id } } }),
      ),
  });
  if (error) return <NotShown what="This dictionary" error={error} retry={() => void refetch()} />;
  if (!page) return <Loading what="the dictionary" />;
  const atlas = query.get("atlas");
  const choose = (tab: string) => setQuery((before) => withTab(before, tab), { replace: true });
  const other = page.others[0];
  return (
    <div className="stack">
      <DictionaryHead
        page={page}
        actions={
          <>
            {other && (
              <Link
                className="button"
                href={`/compare?a=${encodeURIComponent(id)}&b=${encodeURIComponent(other.id)}`}
              >
                Compare
              </Link>
            )}
            <ProvenanceDrawer provenance={page.provenance} />
          </>
        }
      />
      <ProblemList problems={page.problems} />
      <HeadFigures page={page} />
      <Tabs
        label="Parts of the dictionary"
        tabs={tabsOf(page, atlas)}
        selected={query.get("tab") ?? (page.atlases.length > 0 ? "features" : "evaluation")}
        onSelect={choose}
      />
    </div>
  );
}

function withTab(before: URLSearchParams, tab: string): URLSearchParams {
  const next = new URLSearchParams(before);
  next.set("tab", tab);
  return next;
}

function tabsOf(page: Page, atlas: string | null): Tab[] {
  const { line } = page;
  const has = page.atlases.length > 0;
  const shown = page.atlases.find(({ id }) => id === atlas) ?? page.atlases[0];
  const hasLabels = (shown?.n_labels ?? 0) > 0;
  return [
    {
      id: "features",
      title: "Features",
      content: has ? (
        <FeatureListTab id={line.id} atlas={atlas} hasLabels={hasLabels} />
      ) : (
        <NoAtlas line={line} />
      ),
    },
    {
      id: "map",
      title: "Map",
      content: has ? <MapTab id={line.id} atlas={atlas} /> : <NoAtlas line={line} />,
    },
    { id: "evaluation", title: "Evaluation", content: <EvaluationTab page={page} /> },
    { id: "latents", title: "Latents", content: <LatentsTab page={page} /> },
    { id: "training", title: "Training", content: <TrainingTab page={page} /> },
    { id: "about", title: "About", content: <AboutTab page={page} atlas={atlas} /> },
  ];
}
