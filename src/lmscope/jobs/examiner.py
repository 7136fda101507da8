"""Examiner: everything that measuring a dictionary needs beside the dictionary."""

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.activations.stream import ActivationStream
from lmscope.core.protocols import Listener
from lmscope.core.site import Site
from lmscope.dictionaries.baselines import Baselines, fit_baselines
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import Examination, Health, check_fits
from lmscope.evaluation.rows import TextContexts
from lmscope.jobs.choices import EvaluationChoice, Sides
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel


class Examiner:
    """Measures dictionaries of one model on the held-out side of one corpus.

    Args:
        model: Whose activations and loss are measured.
        text: Baselines and norms come from the training side, figures from the held-out one.
        stream: Reads the training side at every site in question; its place is moved.
        choice: How much is measured.
        seed: The recipe's.
    """

    def __init__(
        self,
        model: LanguageModel,
        text: Sides,
        stream: ActivationStream,
        choice: EvaluationChoice,
        seed: int,
    ) -> None:
        self._model, self._text, self._stream = model, text, stream
        self._choice, self._seed = choice, seed

    @property
    def exclusion(self) -> Exclusion:
        """The one mask, with the median norms of the stream's calibration."""
        return Exclusion({s: c.median_norm for s, c in self._stream.calibration.items()})

    def measure(self, name: str, dictionary: Dictionary, listener: Listener) -> Health:
        """The health of a dictionary, its baselines beside it."""
        baselines = self.baselines(name, dictionary, listener)
        return self.examine(
            name, dictionary, baselines, self._text.held_out, self._choice, listener
        ).health()

    def baselines(self, name: str, dictionary: Dictionary, listener: Listener) -> Baselines | None:
        """What the dictionary has to beat, fitted on the training side; None if it is not wanted."""
        if not self._choice.baseline_tokens:
            return None
        listener.on_event("phase", {"phase": "baselines", "dictionary": name})
        return fit_baselines(
            dictionary,
            self.training_values(),
            exclusion=self.exclusion,
            n_tokens=self._choice.baseline_tokens,
            seed=self._seed,
        )

    def examine(
        self,
        name: str,
        dictionary: Dictionary,
        baselines: Baselines | None,
        contexts: TextContexts,
        choice: EvaluationChoice,
        listener: Listener,
    ) -> Examination:
        """Measure on any contexts, and keep the sums."""
        listener.on_event("phase", {"phase": "evaluate", "dictionary": name})
        check_fits(self._model, dictionary)
        examination = Examination(
            self._model,
            dictionary,
            contexts,
            self.exclusion,
            baselines,
            choice.options(contexts.context_length, self._seed),
        )
        examination.go(listener)
        return examination

    def training_sample(self, site: Site, n_tokens: int) -> Float[Tensor, "token width"]:
        """The first training activations of a site, without outliers."""
        parts, n = [], 0
        for values in self.training_values():
            inlier = self.exclusion.inlier(site, values[site])
            parts.append(values[site][inlier][: n_tokens - n])
            n += len(parts[-1])
            if n >= n_tokens:
                break
        return torch.cat(parts)

    def training_values(self) -> Iterator[Mapping[Site, Tensor]]:
        """Training activations from the first on; those that a store kept are not computed again."""
        self._stream.load_state({**self._stream.state(), "batches": 0})
        try:
            for batch in self._stream:
                yield batch.values
        finally:
            self._stream.close()
