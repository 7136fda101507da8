import { lazy, Suspense } from "react";
import { Route, Switch } from "wouter";
import { askForGraph } from "../pages/graph/graphQuery";
import { Loading } from "../ui/states";
import { pageOf } from "./pageOf";
import { Shell } from "./Shell";

const HomePage = lazy(() => import("../pages/home/HomePage"));
const GridPage = lazy(() => import("../pages/grid/GridPage"));
const RunPage = lazy(() => import("../pages/run/RunPage"));
const JobsPage = lazy(() => import("../pages/jobs/JobsPage"));
const DictionaryPage = lazy(() => import("../pages/dictionary/DictionaryPage"));
const FeaturePage = lazy(() => import("../pages/feature/FeaturePage"));
const SearchPage = lazy(() => import("../pages/search/SearchPage"));
const ComparePage = lazy(() => import("../pages/compare/ComparePage"));
const GraphsPage = lazy(() => import("../pages/graph/GraphsPage"));
const GraphPage = pageOf(() => import("../pages/graph/GraphPage"), askForGraph);
const GraphComparePage = lazy(() => import("../pages/graph/GraphComparePage"));
const PlayersPage = lazy(() => import("../pages/board/PlayersPage"));
const BoardPage = lazy(() => import("../pages/board/BoardPage"));
const MissingPage = lazy(() => import("../pages/MissingPage"));

/** Each page has a twin in JSON at the same address with /api in front. */
export function App() {
  return (
    <Shell>
      <Suspense fallback={<Loading />}>
        <Switch>
          <Route path="/" component={HomePage} />
          <Route path="/suites/:id">{({ id }) => <GridPage kind="suites" id={id} />}</Route>
          <Route path="/models/:id">{({ id }) => <GridPage kind="models" id={id} />}</Route>
          <Route path="/runs/:id">{({ id }) => <RunPage id={id} />}</Route>
          <Route path="/jobs" component={JobsPage} />
          <Route path="/dictionaries/:id">{({ id }) => <DictionaryPage id={id} />}</Route>
          <Route path="/dictionaries/:id/features/:latent">
            {({ id, latent }) => <FeaturePage id={id} latent={Number(latent)} />}
          </Route>
          <Route path="/search" component={SearchPage} />
          <Route path="/compare" component={ComparePage} />
          <Route path="/graphs" component={GraphsPage} />
          <Route path="/graphs/compare" component={GraphComparePage} />
          <Route path="/graphs/:run/:name">
            {({ run, name }) => <GraphPage run={run} name={name} />}
          </Route>
          <Route path="/othello" component={PlayersPage} />
          <Route path="/othello/:run">{({ run }) => <BoardPage run={run} />}</Route>
          <Route component={MissingPage} />
        </Switch>
      </Suspense>
    </Shell>
  );
}
