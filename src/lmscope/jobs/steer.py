"""Steer: a dictionary on its model, ready for questions; how prompts go on when latents are changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, RecipeError, did_you_mean
from lmscope.core.protocols import Listener
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.dictionaries.latent_statistics import LatentStatistics
from lmscope.dictionaries.logit_effects import LogitEffect, TokenEffect, logit_effect
from lmscope.dictionaries.steering import (
    LatentChange,
    Steering,
    Where,
    check_changes,
    decoder_rows,
    random_directions,
)
from lmscope.jobs.choices import load_model, open_text
from lmscope.jobs.evaluate import EvaluateRecipe, evaluation_task
from lmscope.jobs.evaluation_task import EvaluationTask
from lmscope.models.exclusion import Exclusion
from lmscope.models.generate import EditsOf, Generated, GenerationOptions, generate, prompt_batch
from lmscope.models.language_model import LanguageModel


class SteerChoice(Config):
    """Which latents are changed, and what goes on from there."""

    latents: tuple[int, ...]
    kind: Literal["add", "clamp", "ablate"] = "clamp"
    """`add`: the activation rises by the amount; `clamp`: it becomes the amount; `ablate`: it becomes 0."""
    amount: str = "1x"
    """A number in the dictionary's units, or with an x a multiple of each latent's largest activation
    on held-out text: 2x."""
    prompts: tuple[str, ...]
    chat: bool = False
    """Whether each prompt is a user's message, to be put through the model's chat template."""
    where: Where = "all"
    """Steer all tokens, those of the prompt, or the generated ones only."""
    compare: bool = False
    """Whether the prompts also go on unedited, and with a random direction in the latents' place."""
    generation: GenerationOptions = GenerationOptions()
    n_shown: Annotated[int, Field(ge=0)] = 5
    """Next tokens shown that rise most, and as many that fall most."""


@dataclass(frozen=True, eq=False)
class Bench:
    """A dictionary on its model.

    Attributes:
        name: The dictionary's name.
        model: Its model, or another one of the same shape.
        dictionary: On the model's device.
        exclusion: Which positions stay clean and do not count.
        max_activation: The largest activation of each latent on held-out text; None if none was kept.
    """

    name: str
    model: LanguageModel
    dictionary: Dictionary
    exclusion: Exclusion
    max_activation: Float[Tensor, "latent"] | None


@dataclass(frozen=True, eq=False)
class Steered:
    """How one prompt went on.

    Attributes:
        prompt: As it was given.
        arms: `steered`, and if asked for `clean` and `random`: what was written.
        effect: The prediction of the first new token, clean and steered.
        raised: Tokens that rise most in it.
        lowered: Tokens that fall most in it.
    """

    prompt: str
    arms: Mapping[str, Generated]
    effect: LogitEffect
    raised: tuple[TokenEffect, ...]
    lowered: tuple[TokenEffect, ...]


@dataclass(frozen=True, eq=False)
class SteerResult:
    """What came of all prompts.

    Attributes:
        bench: What was steered.
        changes: What was done to each latent.
        prompts: One for each prompt.
    """

    bench: Bench
    changes: tuple[LatentChange, ...]
    prompts: tuple[Steered, ...]

    def show(self, token: int) -> str:
        """What a token of the vocabulary shows as."""
        return str(self.bench.model.tokenizer.decode([token]))

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.bench.model.name,
            "dictionary": self.bench.name,
            "changes": [vars(change) for change in self.changes],
            "prompts": [
                {
                    "prompt": one.prompt,
                    "arms": {
                        name: {
                            "text": g.text,
                            "tokens": list(g.tokens),
                            "log_probs": list(g.log_probs),
                        }
                        for name, g in one.arms.items()
                    },
                    "next_token_kl": one.effect.kl,
                    "raised": [self._token(effect) for effect in one.raised],
                    "lowered": [self._token(effect) for effect in one.lowered],
                }
                for one in self.prompts
            ],
        }

    def _token(self, effect: TokenEffect) -> dict[str, Any]:
        return {**vars(effect), "text": self.show(effect.token)}


def open_bench(
    path: Path | str,
    listener: Listener,
    *,
    name: str | None = None,
    model: str | None = None,
    device: str | None = None,
    calibration_tokens: int = 4096,
    exclusion: Exclusion | None = None,
) -> Bench:
    """Load a dictionary with its model, and find out which positions are outliers.

    Args:
        path: A run that trained dictionaries, or the folder of one.
        listener: Hears of the phases.
        name: Which of the run's dictionaries.
        model: Another model of the same shape.
        device: Another device than the one it was trained on.
        calibration_tokens: Training tokens from which median norms are estimated; 0: the text is not
            read, and outliers are steered like any other position.
        exclusion: Which positions are outliers, where that is known; nothing is estimated then.

    Raises:
        ArtifactError: There is no dictionary, or several and no name.
        LmscopeError: The model or the text cannot be read.
    """
    values = {"model": {k: v for k, v in (("name", model), ("device", device)) if v is not None}}
    task = evaluation_task(EvaluateRecipe.from_mapping({**values, "dictionary": str(path)}))
    chosen = _chosen(task.dictionaries, name, path)
    dictionary = Dictionary.load(task.dictionaries[chosen])
    loaded = load_model(task.model, listener)
    dictionary = dictionary.to(loaded.device)
    check_fits(loaded, dictionary)
    if exclusion is None:
        exclusion = Exclusion()
        if calibration_tokens:
            exclusion = _exclusion(task, loaded, dictionary, calibration_tokens, listener)
    statistics = Path(path) / "artifacts" / "health" / chosen / "latents.safetensors"
    largest = LatentStatistics.load(statistics).max_activation if statistics.is_file() else None
    return Bench(chosen, loaded, dictionary, exclusion, largest)


def steer(bench: Bench, choice: SteerChoice) -> SteerResult:
    """Let a model go on with prompts while latents are changed.

    Args:
        bench: What is steered.
        choice: How.

    Raises:
        RecipeError: A latent does not exist, or its largest activation is asked for and not known.
        LmscopeError: The model cannot go on with a text.
    """
    changes = chosen_changes(bench, choice)
    arms: dict[str, EditsOf] = {"steered": _steering(bench, choice, changes, None).edits}
    if choice.compare:
        rows = random_directions(decoder_rows(bench.dictionary, changes), choice.generation.seed)
        random = _steering(bench, choice, changes, rows).edits
        arms = {"clean": lambda _batch: {}, **arms, "random": random}
    batch = prompt_batch(bench.model, choice.prompts, chat=choice.chat)
    written = {
        arm: generate(bench.model, batch, choice.generation, edits) for arm, edits in arms.items()
    }
    found = []
    for i, prompt in enumerate(choice.prompts):
        alone = prompt_batch(bench.model, prompt, chat=choice.chat)
        effect = logit_effect(bench.model, alone, _steering(bench, choice, changes, None))
        found.append(
            Steered(
                prompt,
                {arm: rows[i] for arm, rows in written.items()},
                effect,
                effect.raised(choice.n_shown),
                effect.raised(choice.n_shown, lowered=True),
            )
        )
    return SteerResult(bench, changes, tuple(found))


def chosen_changes(bench: Bench, choice: SteerChoice) -> tuple[LatentChange, ...]:
    """The changes that a choice comes to, in the dictionary's units.

    Raises:
        RecipeError: As of `steer`.
    """
    named = [LatentChange(latent, choice.kind) for latent in choice.latents]
    check_changes(bench.dictionary, named)
    if choice.kind == "ablate":
        return tuple(named)
    text = choice.amount.strip().lower()
    try:
        number = float(text.removesuffix("x"))
    except ValueError:
        raise RecipeError(
            f"'{choice.amount}' is no amount: give a number, e.g. 8, or a multiple of the latent's largest "
            "activation, e.g. 2x."
        ) from None
    factors = _largest(bench, choice.latents) if text.endswith("x") else [1.0] * len(named)
    changes = tuple(
        LatentChange(one.latent, choice.kind, number * factor)
        for one, factor in zip(named, factors, strict=True)
    )
    check_changes(bench.dictionary, changes)
    return changes


def _largest(bench: Bench, latents: Sequence[int]) -> list[float]:
    if bench.max_activation is None:
        raise RecipeError(
            f"How strongly the latents of '{bench.name}' fire at most was not measured, so an amount with x "
            "has no meaning: give a plain number, or name a run with a health report."
        )
    found = [float(bench.max_activation[latent]) for latent in latents]
    for latent, largest in zip(latents, found, strict=True):
        if largest == 0:
            raise RecipeError(
                f"Latent {latent} never fired on the run's held-out text, so an amount with x has no "
                "meaning for it: give a plain number."
            )
    return found


def _steering(
    bench: Bench,
    choice: SteerChoice,
    changes: Sequence[LatentChange],
    directions: Float[Tensor, "change write"] | None,
) -> Steering:
    return Steering(
        bench.model,
        bench.dictionary,
        changes,
        exclusion=bench.exclusion,
        where=choice.where,
        directions=directions,
    )


def _chosen(found: Mapping[str, Path], name: str | None, path: Path | str) -> str:
    if name is None and len(found) == 1:
        return next(iter(found))
    if name is None:
        raise ArtifactError(
            f"'{path}' holds {len(found)} dictionaries ({', '.join(list(found)[:5])}"
            f"{', ...' if len(found) > 5 else ''}): say which one with --dictionary."
        )
    if name not in found:
        raise ArtifactError(f"'{path}' holds no dictionary '{name}'.{did_you_mean(name, found)}")
    return name


@torch.no_grad()
def _exclusion(
    task: EvaluationTask,
    model: LanguageModel,
    dictionary: Dictionary,
    n_tokens: int,
    listener: Listener,
) -> Exclusion:
    """The one mask with median norms of the training side, from fewer tokens than a training takes."""
    listener.on_event("phase", {"phase": "calibrate"})
    text = open_text(task.text, model, seed=task.seed, held_out_tokens=0)
    options = task.stream.model_copy(update={"calibration_tokens": n_tokens, "store": "none"})
    stream = replace(task, stream=options).open_stream(model, text, {"": dictionary})
    try:
        return Exclusion({site: one.median_norm for site, one in stream.calibration.items()})
    finally:
        stream.close()
