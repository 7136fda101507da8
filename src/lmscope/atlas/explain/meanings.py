"""What the scores of labels mean, for those who read them."""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Meaning(NamedTuple):
    """What a score says.

    Attributes:
        text: The definition in one sentence.
        chance: What a label that says nothing would score; None where there is no such number.
    """

    text: str
    chance: float | None


MEANINGS: Final[Mapping[str, Meaning]] = {
    "detection": Meaning(
        "How well a reader of the label alone tells held-out stretches in which the latent fires from stretches "
        "in which it does not: the mean of the shares of both that are told right.",
        0.5,
    ),
    "fuzzing": Meaning(
        "How well a reader of the label alone tells the tokens that fire from as many others of the same held-out "
        "stretch: the mean of the shares of both that are told right.",
        0.5,
    ),
    "intruder": Meaning(
        "How often a reader of the label alone finds the one silent stretch among four in which the latent fires.",
        0.2,
    ),
    "simulation": Meaning(
        "The correlation of the activations that a reader of the label alone expects with the true ones, over the "
        "tokens of held-out stretches.",
        0.0,
    ),
    "monosemanticity": Meaning(
        "From 1, no pattern, to 5, one pattern in all that the latent fires on, as a language model rates it.",
        None,
    ),
    "complexity": Meaning(
        "From 1, a single token, to 5, an abstract idea, as a language model rates what the latent fires on.",
        None,
    ),
}
"""By scorer."""
