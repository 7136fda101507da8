"""Find circuits of a model of Othello over many games, and hold them against the rules (he2024othello)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from lmscope.circuits.config import ReplacementOptions, TraceOptions
from lmscope.circuits.frozen import freeze
from lmscope.core import shipped
from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, RecipeError, did_you_mean
from lmscope.core.files import write_text
from lmscope.core.protocols import Listener
from lmscope.core.rng import numpy_generator
from lmscope.core.site import Site
from lmscope.evaluation.statistics import BootstrapOptions
from lmscope.jobs.evaluate import OtherModel
from lmscope.jobs.othello_circuit_report import (
    FINDINGS,
    Finding,
    OthelloCircuitsReport,
)
from lmscope.jobs.othello_circuit_totals import (
    GameSums,
    Totals,
    ablation_finding,
    attention_finding,
    empty_finding,
    logit_finding,
    state_finding,
    threshold_finding,
)
from lmscope.jobs.othello_findings import (
    Seen,
    Sums,
    ablation_sums,
    attention_sums,
    empty_sums,
    logit_sums,
    state_sums,
    threshold_sums,
)
from lmscope.jobs.othello_label_report import OthelloTruthReport
from lmscope.jobs.othello_nodes import LatentLabel, Nodes, SiteLabels, drawn_places
from lmscope.jobs.othello_reading import world_of
from lmscope.jobs.running import Plan, running
from lmscope.jobs.trace import TraceRecipe, Tracing
from lmscope.jobs.trace_dictionaries import (
    CircuitDictionaries,
    CircuitParts,
    find_parts,
    found_or_shipped,
)
from lmscope.jobs.trace_record import as_json, read_values
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.runs.signals import StopSignal
from lmscope.text.worlds.flanks import by_next_player, makers
from lmscope.text.worlds.games import game_batch
from lmscope.text.worlds.othello import Othello

REPORT_FILE: Final = "othello_circuits.json"
"""Below `artifacts`."""
LABELS_FILE: Final = "labels.json"
"""Below `artifacts` of a run that trained dictionaries: what their latents say."""
_GAMES: Final = "games"
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]


class PlacesChoice(Config):
    """Which games and places are looked at."""

    n_games: Count = 125
    """Random games that fill the board, of a random stream of their own."""
    places_per_game: Count = 4
    """Drawn evenly, each with one of the moves that are legal next; places with one legal move are left out."""
    earliest: Count = 5
    """Moves that must have been made."""


class LabelChoice(Config):
    """What features mean."""

    file: str | None = None
    """What `lmscope othello label --out` wrote; absent: `artifacts/labels.json` of the run that trained the dictionaries.
    Where there is neither, only attention is looked at."""
    least_f1: Annotated[float, Field(ge=0, le=1)] = 0.7
    """A latent says its best label if that has so much."""
    precise: bool = True
    """Whether a latent also says what it says precisely, though rarely: the labels that hold nearly always where it is
    above a threshold."""


class LinesChoice(Config):
    """How features of flanking lines are tried."""

    least_probability: Share = 0.01
    """A move that the model gives more to is legal for it."""
    ablate: Literal["everywhere", "here"] = "everywhere"
    """Whether features of the lines are taken out at all moves so far, or at the place alone."""
    n_draws: Count = 10
    """Random sets for each circuit, which are averaged."""
    state_features: Count = 4
    """Board-state features that are traced at each place, at most, and as many of empty squares."""


class OthelloCircuitsRecipe(Recipe):
    """What `lmscope othello circuits` does."""

    job: Literal["othello-circuits"] = "othello-circuits"
    name: str = "othello-circuits"
    model: OtherModel = OtherModel()
    """Absent keys are those of the run that trained the dictionaries."""
    dictionaries: CircuitDictionaries = CircuitDictionaries()
    """Absent: those of `othello-mini`, which comes with lmscope, unless a model is named."""
    labels: LabelChoice = LabelChoice()
    places: PlacesChoice = PlacesChoice()
    findings: tuple[Finding, ...] = ()
    """Which; absent: all that labels allow."""
    replacement: ReplacementOptions = ReplacementOptions()
    """How the model becomes linear."""
    trace: TraceOptions = TraceOptions(threshold=0.02)
    """How far logits are traced."""
    lines: LinesChoice = LinesChoice()
    thresholds: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (
        0.2,
        0.1,
        0.05,
        0.02,
        0.01,
        0.005,
        0.002,
    )
    """At which circuits are scored, as `trace` takes them."""
    bootstrap: BootstrapOptions = BootstrapOptions()
    """Of the intervals, over games."""


def find_othello_circuits(
    recipe: OthelloCircuitsRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Listener] = (),
    resume: Path | str | None = None,
) -> Run:
    """Find circuits at many places of games, and hold them against the rules.

    The run holds `artifacts/othello_circuits.json`, and what each game adds in `artifacts/games`.

    Args:
        recipe: What to do.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: A run to go on with; games that are done are not looked at again.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
    """
    labels, dictionaries = chosen_labels(recipe), _dictionaries(recipe)
    findings = chosen_findings(recipe)
    parts = find_parts(dictionaries, recipe.model)
    told = read_labels(labels, parts)
    with running(recipe, root, listeners, resume) as (run, stop):
        trace = TraceRecipe(
            model=recipe.model, dictionaries=dictionaries, replacement=recipe.replacement
        )
        tracing = Tracing.open(trace, parts, run)
        model = tracing.model
        run.note_weights({model.name: model.weights_hash})
        looked = _Games(recipe, findings, tracing, told, run, stop)
        games = looked.all()
        report = _report(recipe, findings, looked, games)
        write_text(run.artifacts / REPORT_FILE, as_json(report.to_mapping()))
        figures = {"n_games": report.n_games, "n_places": report.n_places}
        run.event("result", name="othello_circuits", figures=figures)
    return run


def plan_othello_circuits(recipe: OthelloCircuitsRecipe) -> Plan:
    """What `find_othello_circuits` would do; reads configurations of dictionaries, and the labels."""
    findings = chosen_findings(recipe)
    parts = find_parts(_dictionaries(recipe), recipe.model)
    told = read_labels(chosen_labels(recipe), parts)
    return Plan(
        {
            "model": parts.model.name,
            "n_dictionaries": len(parts.dictionaries),
            "n_labelled": sum(map(len, told.values())),
            "n_games": recipe.places.n_games,
            "n_places": recipe.places.n_games * recipe.places.places_per_game,
            "findings": ", ".join(findings),
        }
    )


def read_othello_circuits(run: Run) -> OthelloCircuitsReport:
    """What a run found.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    path = run.artifacts / REPORT_FILE
    return OthelloCircuitsReport.from_mapping(read_values(path), f"'{path}'")


def chosen_findings(recipe: OthelloCircuitsRecipe) -> tuple[Finding, ...]:
    """What is looked for.

    Raises:
        RecipeError: What is asked for needs labels, and there are none.
    """
    labels = chosen_labels(recipe).file
    asked = recipe.findings or (FINDINGS if labels else ("attention",))
    if labels is None and set(asked) != {"attention"}:
        raise RecipeError(
            "Without labels nobody knows which features speak of a line: give what `lmscope othello label DICTIONARIES "
            "--out FILE` writes, or look at attention alone."
        )
    return tuple(finding for finding in FINDINGS if finding in asked)


def chosen_labels(recipe: OthelloCircuitsRecipe) -> LabelChoice:
    """What says what features mean: the file that is named, or that of the run that trained the dictionaries."""
    sources = _dictionaries(recipe).sources
    if recipe.labels.file is not None or len(sources) != 1:
        return recipe.labels
    file = Path(found_or_shipped(sources[0])) / "artifacts" / LABELS_FILE
    return recipe.labels.model_copy(update={"file": str(file)}) if file.is_file() else recipe.labels


Told = dict[str, dict[int, tuple[LatentLabel, ...]]]
"""What latents say, by the dictionary's name and the latent."""


def read_labels(choice: LabelChoice, parts: CircuitParts) -> Told:
    """What latents say: their best label, if it is good enough, and what they say precisely.

    Raises:
        RecipeError: No dictionary stands in the model.
        ArtifactError: The file is missing or no such report, or is of other dictionaries, or no label is good enough.
    """
    if choice.file is None:
        return {}
    if not parts.dictionaries:
        raise RecipeError(
            "Without a dictionary there is no feature that labels could be of: give a run that trained some on the "
            "player, or leave the labels out and look at attention alone."
        )
    report = OthelloTruthReport.load(choice.file)
    known = [one.name for one in report.dictionaries]
    found: Told = {}
    for one in parts.dictionaries:
        if one.name not in known:
            raise ArtifactError(
                f"'{choice.file}' has no labels of '{one.name}'.{did_you_mean(one.name, known)} Make them with "
                "`lmscope othello label` for the same dictionaries."
            )
        own: dict[int, list[LatentLabel]] = {}
        for latent, labels in report.labels_of(one.name).items():
            if labels[0].f1 >= choice.least_f1:
                own[latent] = [LatentLabel(labels[0].label, labels[0].threshold)]
        for latent, precise in report.precise_of(one.name).items() if choice.precise else ():
            said = (LatentLabel(label.label, label.threshold, tells=False) for label in precise)
            own.setdefault(latent, []).extend(said)
        found[one.name] = {latent: tuple(labels) for latent, labels in own.items()}
    if not any(found.values()):
        raise ArtifactError(
            f"No latent of '{choice.file}' has a label with F1 of {choice.least_f1:g} or more, or a precise one: set "
            "labels.least_f1 lower, or train the dictionaries longer."
        )
    return found


def site_labels(tracing: Tracing, world: Othello, told: Told) -> dict[Site, SiteLabels]:
    """What latents say, by the site that their dictionary writes.

    Args:
        tracing: The model with its dictionaries.
        world: What it plays.
        told: Labels by the dictionary's name and the latent.

    Raises:
        ArtifactError: A label is none of this world, or of a latent that is not there.
    """
    return {
        one.config.write_site: SiteLabels.of(world, one.config.n_latents, told.get(one.name, {}))
        for one in tracing.parts.dictionaries
    }


def _dictionaries(recipe: OthelloCircuitsRecipe) -> CircuitDictionaries:
    """Those that are named, or those of the player that comes with lmscope."""
    if recipe.dictionaries.sources or recipe.model.name is not None:
        return recipe.dictionaries
    return recipe.dictionaries.model_copy(update={"sources": (shipped.OTHELLO,)})


@dataclass(eq=False)
class _Games:
    """Every game that is looked at; what is done lies on disk."""

    recipe: OthelloCircuitsRecipe
    findings: tuple[Finding, ...]
    tracing: Tracing
    told: Told
    run: Run
    stop: StopSignal

    def __post_init__(self) -> None:
        self.world = world_of(self.tracing.model)
        self.labels = site_labels(self.tracing, self.world, self.told)

    def all(self) -> list[GameSums]:
        """What each game adds; games without a place are left out."""
        n, seed = self.recipe.places.n_games, self.recipe.seed
        rng = numpy_generator(seed, "othello", self.world.size, "circuits")
        self.games = self.world.random_games(n, rng)
        self.states = self.world.replay(self.games.moves)
        self.tokens = game_batch(self.games).tokens
        folder = self.run.artifacts / _GAMES
        folder.mkdir(exist_ok=True)
        found: list[GameSums] = []
        self.run.event("phase", phase="circuits")
        for game in range(n):
            self.stop.raise_if_requested()
            path = folder / f"{game}.json"
            if not path.exists():
                write_text(path, as_json(self.of(game).to_mapping()))
            found.append(GameSums.from_mapping(read_values(path), f"'{path}'"))
            self.run.progress("circuits", game + 1, n)
        return [one for one in found if one.n_places]

    def of(self, game: int) -> GameSums:
        """What one game adds."""
        choice = self.recipe.places
        rng = numpy_generator(self.recipe.seed, "othello circuits", game)
        whole = freeze(self.tracing.replacement, self.tokens[game])
        total: dict[str, list[float]] = {}
        n_places = 0
        for place in drawn_places(
            self.games, self.states, game, choice.places_per_game, choice.earliest, rng
        ):
            frozen = whole.until(place.place + 1)
            seen = Seen(
                frozen,
                Nodes(frozen, self.labels),
                place,
                makers(self.games, self.states, game, place.place),
                by_next_player(self.states, game, place.place),
                rng,
            )
            n_places += 1
            for name, values in self._sums(seen).items():
                before = total.setdefault(name, [0.0] * len(values))
                total[name] = [a + b for a, b in zip(before, values, strict=True)]
        sums = {name: tuple(values) for name, values in total.items()}
        return GameSums(game=game, n_places=n_places, sums=sums)

    def _sums(self, seen: Seen) -> Sums:
        recipe, lines = self.recipe, self.recipe.lines
        found: Sums = {}
        for finding in self.findings:
            match finding:
                case "logit":
                    found |= logit_sums(seen, recipe.trace, lines.n_draws)
                case "ablation":
                    everywhere = lines.ablate == "everywhere"
                    found |= ablation_sums(seen, lines.least_probability, everywhere=everywhere)
                case "state":
                    found |= state_sums(seen, lines.state_features)
                case "empty":
                    found |= empty_sums(seen, lines.state_features)
                case "attention":
                    found |= attention_sums(seen)
                case "thresholds":
                    found |= threshold_sums(seen, recipe.thresholds, recipe.trace)
        return found


def _report(
    recipe: OthelloCircuitsRecipe,
    findings: tuple[Finding, ...],
    looked: _Games,
    games: Sequence[GameSums],
) -> OthelloCircuitsReport:
    totals = Totals(games, recipe.bootstrap, recipe.seed)
    model, n_places = looked.tracing.model, sum(one.n_places for one in games)
    least = recipe.lines.least_probability
    return OthelloCircuitsReport(
        model=model.name,
        weights_hash=model.weights_hash,
        size=looked.world.size,
        dictionaries=tuple(str(site) for site in looked.tracing.replacement.dictionaries),
        n_labelled=sum(map(len, looked.told.values())),
        n_games=len(games),
        n_places=n_places,
        logit=logit_finding(totals) if "logit" in findings else None,
        ablation=ablation_finding(totals, least) if "ablation" in findings else None,
        state=state_finding(totals) if "state" in findings else None,
        empty=empty_finding(totals) if "empty" in findings else None,
        attention=attention_finding(totals, model.n_layers) if "attention" in findings else None,
        thresholds=(
            threshold_finding(totals, recipe.thresholds, n_places)
            if "thresholds" in findings
            else None
        ),
    )
