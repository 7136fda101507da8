import { useState } from "react";
import { Link } from "wouter";
import type { Schemas } from "../../api/client";
import { activation } from "../../ui/colour";
import { FeatureLink } from "../../ui/FeatureLink";
import { fixed, number } from "../../ui/format";
import { Empty } from "../../ui/states";
import type { Place } from "./game";
import { holds, squareSaid } from "./labels";

type Latent = Schemas["PlayerLatent"];

interface Props {
  dictionary: string;
  move: Schemas["MoveRead"];
  latents: readonly Latent[];
  labelled: boolean;
  place: Place;
  at: number;
  size: number;
  onSpeak: (squares: readonly number[]) => void;
}

const AT_FIRST = 24;
const MOST_LABELS = 3;

/** The features that are on at a move, strongest first, and what they say of the board. */
export function FeatureRows(props: Props) {
  const { dictionary, move, latents, labelled, place, at, size, onSpeak } = props;
  const [all, setAll] = useState(false);
  const known = new Map(latents.map((one) => [one.latent, one]));
  const largest = Math.max(0, ...move.latents.map(({ value }) => value));
  const shown = all ? move.latents : move.latents.slice(0, AT_FIRST);
  if (!move.counts && move.latents.length === 0)
    return (
      <Empty>
        {at === 1
          ? "Dictionaries leave out the first move of a game."
          : "Dictionaries leave this move out: its activations are outliers."}
      </Empty>
    );
  if (move.latents.length === 0) return <Empty>No feature is on at this move.</Empty>;
  return (
    <>
      {!labelled && (
        <p className="muted small-print">
          What these features say is not known yet:{" "}
          <code>lmscope othello label RUN --out RUN/artifacts/labels.json</code> holds them against
          the rules.
        </p>
      )}
      <ul
        className="feature-rows"
        aria-label="Features that are on"
        onMouseLeave={() => onSpeak([])}
      >
        {shown.map(({ latent, value }) => {
          const one = known.get(latent);
          const says = spoken(one?.says ?? [], value);
          const squares = says.flatMap(({ label }) => squareSaid(label, size) ?? []);
          const shade = activation(value, largest);
          return (
            <li
              key={latent}
              onFocus={() => onSpeak(squares)}
              onBlur={() => onSpeak([])}
              onMouseEnter={() => onSpeak(squares)}
            >
              <span
                className="feature-value number"
                style={{ background: shade.background, color: shade.ink }}
              >
                {number(value)}
              </span>
              {says.length > 0 ? (
                <Link
                  href={`/dictionaries/${encodeURIComponent(dictionary)}/features/${latent}`}
                  className="feature-link mono"
                >
                  {latent}
                </Link>
              ) : (
                <FeatureLink
                  dictionary={dictionary}
                  latent={latent}
                  label={one?.label ?? ""}
                  known={one?.label_known ?? false}
                />
              )}
              <span className="says">
                {says.map((said) => (
                  <SaidChip
                    key={said.label}
                    said={said}
                    value={value}
                    at={at}
                    place={place}
                    size={size}
                  />
                ))}
              </span>
            </li>
          );
        })}
      </ul>
      {move.n_on > shown.length && (
        <p>
          {move.latents.length > shown.length && (
            <button type="button" className="small" onClick={() => setAll(true)}>
              Show {move.latents.length === move.n_on ? "all" : "the strongest"}{" "}
              {move.latents.length}
            </button>
          )}{" "}
          <span className="muted">{move.n_on} are on.</span>
        </p>
      )}
    </>
  );
}

/** The labels to show of a feature: those that it says here come first. */
const spoken = (says: readonly Schemas["Said"][], value: number) =>
  [
    ...says.filter(({ threshold }) => value > threshold),
    ...says.filter(({ threshold, f1 }) => value <= threshold && f1 !== null),
  ].slice(0, MOST_LABELS);

interface ChipProps {
  said: Schemas["Said"];
  value: number;
  place: Place;
  at: number;
  size: number;
}

/** One label: whether the feature says it here, and whether it is so. */
function SaidChip({ said, value, place, at, size }: ChipProps) {
  const speaks = value > said.threshold;
  const true_ = holds(said.label, place, at, size);
  const verdict = true_ === null ? "" : true_ ? "true here" : "not so here";
  const says = speaks ? "" : ", below the threshold above which it says so";
  return (
    <span
      className={`said${speaks ? "" : " silent"}${true_ === false ? " wrong" : ""}`}
      title={`${figures(said)}${says}${verdict ? `; ${verdict}` : ""}`}
    >
      <bdi>{said.label}</bdi>{" "}
      <span aria-hidden="true">{true_ === null ? "" : true_ ? "✓" : "✗"}</span>
      <span className="off-screen">{verdict}</span>{" "}
      <span className="said-f1">
        {said.f1 === null ? `${fixed(said.precision * 100, 0)} %` : fixed(said.f1, 2)}
      </span>
    </span>
  );
}

/** How well a label is told; one without F1 is said precisely, though rarely. */
const figures = ({ f1, precision, recall }: Schemas["Said"]) =>
  f1 === null || recall === null
    ? `right ${fixed(precision * 100, 1)} % of the times that it is said`
    : `F1 ${fixed(f1, 2)}, precision ${fixed(precision, 2)}, recall ${fixed(recall, 2)}`;
