"""The demo: a real model to a trained, measured dictionary and its most telling latents."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from lmscope.core.files import write_text
from lmscope.core.protocols import Listener
from lmscope.dictionaries.examples import ExampleOptions, TellingLatent, telling_latents
from lmscope.display.plots import histogram_plot, line_plot
from lmscope.display.tables import Table
from lmscope.display.tokens import TokenStrip
from lmscope.jobs.reports import health_table
from lmscope.jobs.running import running
from lmscope.jobs.train import Measured, Training, TrainRecipe
from lmscope.runs.run import Run


class DemoRecipe(TrainRecipe):
    """What `lmscope demo` does: a training of one dictionary, and how many latents it shows."""

    job: Literal["demo"] = "demo"
    name: str = "demo"
    n_telling: Annotated[int, Field(ge=0)] = 10
    """Latents that are shown."""
    n_contexts: Annotated[int, Field(ge=1)] = 3
    """Contexts that are shown of each."""


class ShownLatent(NamedTuple):
    """A latent for the eye: a line about it and its top contexts as shaded tokens."""

    headline: str
    strips: tuple[TokenStrip, ...]


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes:
        run: The finished run.
        figures: The figures by name, as `--json` prints them.
        table: The dictionary beside its baselines.
        latents: The most telling ones.
        plots: Pictures in the run's folder.
    """

    run: Run
    figures: dict[str, Any]
    table: Table
    latents: tuple[ShownLatent, ...]
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
    """Train the recipe's first dictionary, measure it, draw it and find its telling latents.

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
        run.event("phase", phase="latents", dictionary=first.name)
        latents = _latents(training, first)
        _write_latents(run, latents)
        table = _table(first)
    return DemoResult(run, _figures(run, training, first), table, latents, plots)


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


def _latents(training: Training, measured: Measured) -> tuple[ShownLatent, ...]:
    recipe = training.recipe
    assert isinstance(recipe, DemoRecipe)
    if not recipe.n_telling:
        return ()
    options = ExampleOptions(
        n_contexts=recipe.evaluation.options(recipe.text.context_length, recipe.seed).n_contexts,
        n_shown=recipe.n_contexts,
    )
    found = telling_latents(
        training.model,
        measured.dictionary,
        training.text.held_out,
        exclusion=measured.exclusion,
        n=recipe.n_telling,
        options=options,
    )
    return tuple(_shown(latent, training) for latent in found)


def _shown(latent: TellingLatent, training: Training) -> ShownLatent:
    decode = training.model.tokenizer.decode
    strips = tuple(
        TokenStrip(
            tuple(str(decode([token])) for token in example.tokens),
            tuple(float(value) for value in example.activations),
            full=latent.max_activation,
        )
        for example in latent.examples
    )
    peak = decode([latent.peak_token])
    headline = (
        f"latent {latent.latent}: fires on {latent.density:.2%} of the tokens, peaks at {peak!r} in "
        f"{latent.peak_token_share:.0%} of its top contexts, from {latent.n_documents} documents"
    )
    return ShownLatent(headline, strips)


def _write_latents(run: Run, latents: Sequence[ShownLatent]) -> None:
    values = [
        {
            "headline": latent.headline,
            "contexts": [{"tokens": s.tokens, "activations": s.values} for s in latent.strips],
        }
        for latent in latents
    ]
    text = json.dumps(values, indent=1, ensure_ascii=False)
    write_text(run.artifacts / "latents.json", text + "\n")


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
