"""Steer: how prompts go on when latents are changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError
from lmscope.dictionaries.logit_effects import LogitEffect, TokenEffect, logit_effect
from lmscope.dictionaries.steering import (
    LatentChange,
    Steering,
    Where,
    check_changes,
    decoder_rows,
    random_directions,
)
from lmscope.jobs.bench import Bench, Subject
from lmscope.models.generate import EditsOf, Generated, GenerationOptions, generate, prompt_batch


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


def steer(bench: Bench, choice: SteerChoice) -> SteerResult:
    """Let a model go on with prompts while latents are changed.

    Args:
        bench: What is steered.
        choice: How.

    Raises:
        RecipeError: A latent does not exist, or its largest activation is asked for and not known.
        LmscopeError: The model cannot go on with a text.
    """
    changes = chosen_changes(bench.subject, choice)
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


def chosen_changes(subject: Subject, choice: SteerChoice) -> tuple[LatentChange, ...]:
    """The changes that a choice comes to, in the dictionary's units; no model is needed to tell.

    Raises:
        RecipeError: As of `steer`.
    """
    named = [LatentChange(latent, choice.kind) for latent in choice.latents]
    check_changes(subject.config.n_latents, named)
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
    factors = _largest(subject, choice.latents) if text.endswith("x") else [1.0] * len(named)
    changes = tuple(
        LatentChange(one.latent, choice.kind, number * factor)
        for one, factor in zip(named, factors, strict=True)
    )
    check_changes(subject.config.n_latents, changes)
    return changes


def _largest(subject: Subject, latents: Sequence[int]) -> list[float]:
    if subject.max_activation is None:
        raise RecipeError(
            f"How strongly the latents of '{subject.name}' fire at most was not measured, so an amount with x "
            "has no meaning: give a plain number, or name a run with a health report."
        )
    found = [float(subject.max_activation[latent]) for latent in latents]
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
