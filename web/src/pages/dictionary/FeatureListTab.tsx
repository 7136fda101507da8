import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useLocation, useSearch, useSearchParams } from "wouter";
import { client, data, type Schemas } from "../../api/client";
import { count } from "../../ui/format";
import { Failed, Loading } from "../../ui/states";
import { VirtualList } from "../../ui/VirtualList";
import { featureAddress } from "../feature/logic";
import { FeatureFilters } from "./FeatureFilters";
import { FeatureHeader } from "./FeatureHeader";
import { FeatureRow } from "./FeatureRow";
import { asked, filtersIn, type ListQuery, read, turned, written } from "./listQuery";
import { useStars } from "./useStars";
import "./FeatureList.css";

type Line = Schemas["FeatureLine"];

const ROW = 38;
const PAGE = 100;

interface Props {
  id: string;
  atlas: string | null;
  /** Then those with the best ones come first. */
  hasLabels: boolean;
}

/** All features of the dictionary: filtered, sorted, scrolled through. */
export function FeatureListTab({ id, atlas, hasLabels }: Props) {
  const [params, setParams] = useSearchParams();
  const [, navigate] = useLocation();
  const search = useSearch();
  const queries = useQueryClient();
  const list = read(params, hasLabels);
  const query = asked(list, atlas);
  const key = ["dictionaries", id, "features", query] as const;
  const load = async (offset: number, limit: number) =>
    data(
      client.GET("/api/dictionaries/{dictionary}/features", {
        params: { path: { dictionary: id }, query: { ...query, offset, limit } },
      }),
    );
  const first = useQuery({
    queryKey: [...key, "first"],
    queryFn: async () => {
      const found = await load(0, PAGE);
      // The list would ask for the same rows again.
      queries.setQueryData([...key, "rows", 0], found.rows);
      return { key, found };
    },
    placeholderData: keepPreviousData,
  });
  const stars = useStars(id, atlas);
  const change = (changes: Partial<ListQuery>) =>
    setParams((before) => written(before, changes), { replace: true });
  const shown = first.data;
  const valueName = shown?.found.value_name ?? null;
  return (
    <div className="feature-list" aria-busy={first.isFetching}>
      <FeatureFilters list={list} onChange={change} />
      <p className="list-count" role="status">
        {shown && !first.error && (
          <span>
            <strong>{count(shown.found.total)}</strong>{" "}
            {shown.found.total === 1 ? "feature" : "features"}
            {filtersIn(list) > 0 ? " found" : ""}
          </span>
        )}
        <span className="muted">j and k move, Enter opens</span>
      </p>
      {stars.failed !== null && <Failed error={stars.failed} />}
      {first.error ? (
        <Failed error={first.error} retry={() => void first.refetch()} />
      ) : !shown ? (
        <Loading what="the features" />
      ) : (
        <div className={valueName ? "feature-table with-value" : "feature-table"}>
          <FeatureHeader
            order={list.order}
            valueName={valueName}
            onSort={(column) => change({ order: turned(list.order, column) })}
          />
          {shown.found.total === 0 ? (
            <p className="state muted">No feature fits all of these filters.</p>
          ) : (
            <VirtualList<Line>
              key={JSON.stringify(shown.key)}
              total={shown.found.total}
              rowHeight={ROW}
              label="Features"
              queryKey={shown.key}
              load={async (offset, limit) => (await load(offset, limit)).rows}
              onActivate={(line) => navigate(featureAddress(id, line.latent, search))}
              renderRow={(line) => (
                <FeatureRow
                  line={line}
                  href={featureAddress(id, line.latent, search)}
                  valueShown={valueName !== null}
                  starred={stars.of(line)}
                  onStar={() => stars.toggle(line)}
                />
              )}
            />
          )}
        </div>
      )}
    </div>
  );
}
