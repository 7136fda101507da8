import type { Dispatch } from "react";
import { Tabs } from "../../ui/Tabs";
import type { Arrangement, Edit } from "./edits";
import { GroupsTab } from "./GroupsTab";
import { NodeList } from "./NodeList";
import { ScoreTab } from "./ScoreTab";
import { TestsTab } from "./TestsTab";
import { Trials } from "./Trials";
import type { At } from "./useGraph";
import type { Marks } from "./useMarks";
import type { Shown } from "./useShown";

interface Props {
  at: At;
  shown: Shown;
  marks: Marks;
  arrangement: Arrangement;
  nTests: number;
  barred: string | null;
  tab: string;
  onTab: (tab: string) => void;
  edit: Dispatch<Edit>;
  onFocus: (i: number | null) => void;
  onSelect: (ids: readonly string[]) => void;
}

/** What lies below the drawing: its nodes as a list, groups, attention scores, tests and faithfulness. */
export function GraphTabs(props: Props) {
  const { at, shown, marks, arrangement, nTests, barred, tab, onTab, edit } = props;
  const { page, nodes } = shown;
  const { focus } = marks;
  const counted = (title: string, n: number) => (n > 0 ? `${title} (${n})` : title);
  return (
    <Tabs
      label="More of this graph"
      selected={tab}
      onSelect={onTab}
      tabs={[
        {
          id: "nodes",
          title: "Nodes",
          content: (
            <NodeList
              shown={shown}
              found={marks.found}
              focus={focus}
              pinned={marks.pinned}
              onFocus={props.onFocus}
            />
          ),
        },
        {
          id: "groups",
          title: counted("Groups", arrangement.supernodes.length),
          content: (
            <GroupsTab
              at={at}
              shown={shown}
              arrangement={arrangement}
              barred={barred}
              onEdit={edit}
              onSelect={props.onSelect}
            />
          ),
        },
        {
          id: "scores",
          title: "Attention scores",
          content: (
            <ScoreTab
              at={at}
              page={page}
              position={(focus === null ? null : nodes.position[focus]) ?? page.record.position}
              barred={barred}
              onFocus={(id) => edit({ do: "focus", id })}
            />
          ),
        },
        { id: "tests", title: counted("Tests", nTests), content: <TestsTab at={at} /> },
        { id: "trials", title: "Faithfulness", content: <Trials page={page} /> },
      ]}
    />
  );
}
