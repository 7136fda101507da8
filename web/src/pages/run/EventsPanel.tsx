import { useState } from "react";
import type { Schemas } from "../../api/client";
import { count, date, number } from "../../ui/format";
import { Panel } from "../../ui/Panel";
import { Empty } from "../../ui/states";

type Event = Schemas["RunEvent"];

const keyOf = ({ time, event, fields }: Event) => `${time} ${event} ${JSON.stringify(fields)}`;

/** What happened once, newest first; `fresh` came by the stream since the page was asked for. */
export function EventsPanel({ events, fresh }: { events: Event[]; fresh: Event[] }) {
  const [kind, setKind] = useState("");
  const all = [...new Map([...events, ...fresh].map((event) => [keyOf(event), event])).values()];
  const kinds = [...new Set(all.map(({ event }) => event))].toSorted();
  const shown = all.filter(({ event }) => kind === "" || event === kind).toReversed();
  return (
    <Panel
      title="Events"
      actions={
        <label>
          <span className="off-screen">Kind of event</span>
          <select value={kind} onChange={(event) => setKind(event.target.value)}>
            <option value="">all kinds</option>
            {kinds.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      }
    >
      {shown.length === 0 ? (
        <Empty>Nothing has happened yet.</Empty>
      ) : (
        <ol className="events" tabIndex={0} aria-label="Events, newest first">
          {shown.map((event, i) => (
            <li key={`${i} ${event.time}`}>
              <time dateTime={event.time} title={event.time}>
                {date(event.time).slice(-5)}
              </time>
              <strong>{event.event}</strong>
              <span className="event-fields">{describe(event.fields, event.event)}</span>
            </li>
          ))}
        </ol>
      )}
    </Panel>
  );
}

const LONGEST = 240;

/** Figures as people read them; their intervals stand among the results. */
function describe(fields: Record<string, unknown>, event = ""): string {
  const parts = Object.entries(fields).flatMap(([name, value]) =>
    value === null || name.endsWith("_interval")
      ? []
      : [name === event || name === "name" ? say(value) : `${name} ${say(value)}`],
  );
  return parts.join(" · ");
}

function say(value: unknown): string {
  if (typeof value === "number") return Number.isInteger(value) ? count(value) : number(value, 4);
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return `(${describe(value as Record<string, unknown>)})`;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)} …` : text;
}
