"""Contrasts: by how much a figure differs between two conditions, with an interval.

Two measurements of the same text share its difficulty: where one does badly, so does the other. Resampled together,
span of text by span of text, that common part cancels and the interval of the difference is narrow. Where the text
is not the same, each side is resampled by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from lmscope.core.rng import stream_seed
from lmscope.evaluation.statistics import BootstrapOptions, ContextSums, Estimate, Resamples, ratio

Figure = Callable[[Resamples], Float64[np.ndarray, "resample"]]
"""A figure of totals: its value and its resamples."""


class Contrast(Estimate):
    """A figure here compared with the same figure at home; `n` counts what was resampled."""

    paired: bool
    """Whether both sides were resampled together, by spans of the same text; otherwise `n` is of the
    side with fewer contexts."""


@dataclass(frozen=True)
class Measurement:
    """Sums of one condition, and where in the text they come from.

    Attributes:
        sums: For each unit of resampling; column `n` counts.
        first_context: The number of each unit's first context.
        context_length: Tokens of a context.
        text: Names the text, whatever the length of its contexts.
        is_packed: Whether context i begins where context i - 1 ends.
    """

    sums: ContextSums
    first_context: Int64[np.ndarray, "unit"]
    context_length: int
    text: str
    is_packed: bool = True

    def spans(self, n_tokens: int) -> Int64[np.ndarray, "unit"]:
        """In which stretch of `n_tokens` tokens of the text each unit begins."""
        return self.first_context * self.context_length // n_tokens


def are_paired(here: Measurement, home: Measurement) -> bool:
    """Whether two conditions read the same stretches of the same text.

    Contexts of one length are the same where the text is; packed ones of another length fall together
    in stretches of the longer one if the shorter divides it.
    """
    if here.text != home.text:
        return False
    short, long = sorted((here.context_length, home.context_length))
    return short == long or (here.is_packed and home.is_packed and long % short == 0)


class Comparison:
    """Two conditions, resampled together where they are paired and apart where not.

    Args:
        here: The condition in question.
        home: What it is compared with.
        options: How intervals are made.
        seed: Of the resamples.

    Raises:
        DataError: One of them holds no token that counts.
    """

    def __init__(
        self, here: Measurement, home: Measurement, options: BootstrapOptions, seed: int
    ) -> None:
        self.paired = are_paired(here, home)
        if self.paired:
            sums = _together(here, home)
            seeds = (seed, seed)
        else:
            sums = here.sums.nonempty("n"), home.sums.nonempty("n")
            seeds = (seed, stream_seed(seed, "home apart"))
        self._here, self._home = (
            Resamples(part, options, s) for part, s in zip(sums, seeds, strict=True)
        )

    def difference(self, figure: Figure) -> Contrast | None:
        """Here minus home; None where one of them is undefined."""
        return self._contrast(figure(self._here) - figure(self._home))

    def quotient(self, here: Figure, home: Figure) -> Contrast | None:
        """Here divided by home; None where one of them is undefined or home is 0."""
        return self._contrast(ratio(here(self._here), home(self._home)))

    def _contrast(self, values: Float64[np.ndarray, "resample"]) -> Contrast | None:
        fewer = min(self._here, self._home, key=lambda side: side.n_contexts)
        found = fewer.estimate(values)
        return found and Contrast(**found.to_mapping(), paired=self.paired)


def _together(here: Measurement, home: Measurement) -> tuple[ContextSums, ContextSums]:
    """Both sums by the same stretches of text: those where either side counted a token.

    A unit of several contexts that crosses the end of a stretch counts where it begins.
    """
    length = max(here.context_length, home.context_length)
    spans = [here.spans(length), home.spans(length)]
    kept, group = np.unique(np.concatenate(spans), return_inverse=True)
    groups = np.split(group, [len(spans[0])])
    sums = [
        side.sums.regrouped(part, len(kept))
        for side, part in zip((here, home), groups, strict=True)
    ]
    counted = np.any([part.columns["n"].any(axis=1) for part in sums], axis=0)
    first, second = (part.chosen(counted) for part in sums)
    for part in (first, second):
        part.nonempty("n")  # raises where nothing counted
    return first, second
