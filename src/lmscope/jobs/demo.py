"""The demo: a real model to a trained, measured dictionary, and an atlas that says what its latents mean."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.best import best_features
from lmscope.atlas.feature import Feature
from lmscope.core.files import write_text
from lmscope.core.protocols import Listener
from lmscope.display.plots import histogram_plot, line_plot
from lmscope.display.tables import Table
from lmscope.display.tokens import TokenStrip
from lmscope.jobs.atlas import AtlasRecipe, Building, CensusChoice, atlas_task
from lmscope.jobs.explain import Explaining, ExplainRecipe, explained_atlases, read_report
from lmscope.jobs.reports import health_table
from lmscope.jobs.running import running
from lmscope.jobs.train import Measured, Training, TrainRecipe
from lmscope.runs.run import Run
from lmscope.runs.signals import StopSignal


class DemoRecipe(TrainRecipe):
    """What `lmscope demo` does: a training of one dictionary, its atlas, and how many latents it shows."""

    job: Literal["demo"] = "demo"
    name: str = "demo"
    census: CensusChoice = CensusChoice()
    """How much text the atlas is made from."""
    n_explained: Annotated[int, Field(ge=1)] = 1000
    """Latents that are explained, drawn at random; all where there are fewer."""
    n_features: Annotated[int, Field(ge=0)] = 10
    """Latents that are shown: those whose labels are best supported."""
    n_examples: Annotated[int, Field(ge=1)] = 3
    """Examples that are shown of each."""


class ShownFeature(NamedTuple):
    """A latent for the eye: a line about it and its top examples as shaded tokens."""

    headline: str
    strips: tuple[TokenStrip, ...]


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes:
        run: The finished run.
        figures: The figures by name, as `--json` prints them.
        table: The dictionary beside its baselines.
        labels: How far the labels of its latents can be trusted.
        features: The latents whose labels are best supported.
        plots: Pictures in the run's folder.
    """

    run: Run
    figures: dict[str, Any]
    table: Table
    labels: Table
    features: tuple[ShownFeature, ...]
    plots: tuple[Path, ...]

    def to_mapping(self) -> dict[str, Any]:
        """The figures as one JSON object."""
        return self.figures


def demo(
    recipe: DemoRecipe,
    *,
    root: Path | str = "runs",
    listeners: Sequence[Listener] = (),
    resume: Path | str | None = None,
) -> DemoResult:
    """Train the recipe's first dictionary, measure and draw it, build its atlas and explain it.

    Args:
        recipe: What to do; the shipped recipes `demo` and `demo-gpu` are meant for it.
        root: Folder of all runs.
        listeners: Who follows it.
        resume: A demo to go on with.

    Raises:
        LmscopeError: Anything a user can cause, in one sentence.
    """
    with running(recipe, root, listeners, resume) as (run, stop):
        training = Training(recipe, run, stop)
        first = training.go()[0]
        plots = draw(run, first)
        explain_latents(training, first, run, stop)
        report = read_report(run.artifacts / "labels" / first.name)
        with Atlas.open(run.path, name=first.name) as atlas:
            found = best_features(atlas, recipe.n_features)
            features = tuple(_shown(feature, recipe.n_examples) for feature in found)
        _write_features(run, features)
        labels = report.table(first.name)
        figures = _figures(run, training, first) | report.headline()
    return DemoResult(run, figures, _table(first), labels, features, plots)


def explain_latents(training: Training, measured: Measured, run: Run, stop: StopSignal) -> None:
    """Build the atlas of a dictionary of the same run, and label its latents; what is there stays."""
    recipe = training.recipe
    assert isinstance(recipe, DemoRecipe)
    seed, only = recipe.seed, (measured.name,)
    atlas = AtlasRecipe(dictionary=str(run.path), only=only, census=recipe.census, seed=seed)
    Building(atlas, atlas_task(atlas), run, stop, model=training.model).go()
    n = recipe.n_explained
    labels = ExplainRecipe(atlas=str(run.path), only=only, n_latents=n, seed=seed)
    Explaining(labels, explained_atlases(labels), run, stop).go()


def draw(run: Run, measured: Measured) -> tuple[Path, ...]:
    """Draw loss and L0 by step and the firing frequencies into `artifacts/plots`."""
    folder, name = run.artifacts / "plots", measured.name
    rows = [row for row in run.metrics_rows() if row.get(f"{name}/loss") is not None]
    steps = [row["step"] for row in rows]
    pictures = []
    for key, title, label, log_y in (
        ("loss", "Training loss", "squared error per token (training units)", True),
        ("l0", "Active latents", "latents per token", True),
        ("explained_variance_centred", "Explained variance", "centred, of the batch", False),
    ):
        values = [row[f"{name}/{key}"] for row in rows]
        pictures.append(folder / f"{key}.png")
        line_plot(
            pictures[-1],
            {name: (steps, values)},
            title=title,
            x_label="step",
            y_label=label,
            log_y=log_y,
        )
    if measured.health is not None:
        frequency = measured.health.latents.firing_frequency
        pictures.append(folder / "frequency.png")
        histogram_plot(
            pictures[-1],
            frequency[frequency > 0].log10().tolist(),
            title="How often latents fire",
            x_label="log10 of the share of held-out tokens",
            y_label="latents",
        )
    return tuple(pictures)


def _shown(feature: Feature, n_examples: int) -> ShownFeature:
    record = feature.record
    scores = ", ".join(f"{one.scorer} {one.value:.2f}" for one in feature.scores)
    headline = (
        f"latent {record.latent}: {feature.label} ({scores}; fires on {record.density:.2%} of the tokens, in "
        f"{record.n_documents} documents)"
    )
    return ShownFeature(headline, feature.strips()[:n_examples])


def _write_features(run: Run, features: Sequence[ShownFeature]) -> None:
    values = [
        {
            "headline": feature.headline,
            "examples": [{"tokens": s.tokens, "activations": s.values} for s in feature.strips],
        }
        for feature in features
    ]
    text = json.dumps(values, indent=1, ensure_ascii=False)
    write_text(run.artifacts / "features.json", text + "\n")


def _table(measured: Measured) -> Table:
    if measured.health is None:
        return Table(("arm",), ((measured.name,),), caption="Nothing was measured.")
    report = measured.health.report
    caption = (
        f"{measured.name} on {report.subject.n_tokens:,} held-out tokens "
        f"(loss on {report.subject.n_scored_tokens:,}); 95 % intervals over contexts"
    )
    return health_table(report, caption)


def _figures(run: Run, training: Training, measured: Measured) -> dict[str, Any]:
    config = measured.dictionary.config
    headline = {} if measured.health is None else measured.health.report.headline()
    return {
        "run": str(run.path),
        "model": training.model.name,
        "site": str(config.write_site),
        "n_latents": config.n_latents,
        "n_tokens": training.text.train.n_tokens,
        "elapsed_s": run.record.elapsed_s,
        **headline,
    }
