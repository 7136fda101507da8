"""Benches: one model in memory, and the dictionaries on it that were asked for last."""

import gc
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lmscope.core.site import Site
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.jobs.bench import Bench, Subject, find_subject, measured_exclusion
from lmscope.jobs.choices import ModelChoice, load_model
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.server.live.protocol import Report, Wanted

MAX_BYTES: Final = 4 * 2**30
"""Of dictionaries in memory; the one that was not asked for longest goes first."""
MAX_BESIDE: Final = 2 * 2**30
"""Of weights that stay in memory while others are loaded beside them for another kind of question."""
_WORDS: Final = {
    "load": "Loading the model",
    "calibrate": "Measuring median norms on the training text",
}


class Benches:
    """Opens benches and keeps what they are made of.

    Args:
        tell: Hears where the process stands.
        max_bytes: Of dictionaries in memory; the one in use may be larger.

    Attributes:
        beside: Name of a model that others hold in memory, told of where this holds none.
        make_room: Called with `MAX_BESIDE` before a model is loaded: others give up what is larger.
    """

    def __init__(self, tell: Callable[[Report], None], *, max_bytes: int = MAX_BYTES) -> None:
        self._tell = tell
        self._max_bytes = max_bytes
        self._choice: ModelChoice | None = None
        self._model: LanguageModel | None = None
        self._dictionaries: OrderedDict[str, tuple[str, Dictionary]] = OrderedDict()
        self._exclusions: dict[str, Exclusion] = {}
        self.beside: str | None = None
        self.make_room: Callable[[int], None] = lambda _most: None

    def find(self, wanted: Wanted) -> Subject:
        """The dictionary, before anything of it is loaded.

        Raises:
            LmscopeError: It is not there any more, or does not say which model it belongs to.
        """
        folder = Path(wanted.folder)
        if wanted.run is None:
            return find_subject(folder)
        return find_subject(wanted.run, name=folder.name)

    def is_loaded(self, choice: ModelChoice) -> bool:
        """Whether this is the model in memory."""
        return self._choice == choice

    def model(self, choice: ModelChoice) -> LanguageModel:
        """The model, loaded unless it is the one in memory; the one before goes.

        Raises:
            ModelError: It cannot be found or loaded.
        """
        if self._model is None or self._choice != choice:
            self._forget()
            self.make_room(MAX_BESIDE)
            self._model = load_model(choice, self)
            self._choice = choice
        return self._model

    def measure(self, found: Sequence[tuple[Wanted, Subject]]) -> None:
        """Measure the median norms that no atlas knows, those of one training run in one reading.

        Args:
            found: Dictionaries of one model.

        Raises:
            LmscopeError: The model or the text cannot be read.
        """
        unknown = [
            (wanted, subject)
            for wanted, subject in found
            if not wanted.median_norms and wanted.digest not in self._exclusions
        ]
        runs: dict[str, list[tuple[Wanted, Subject]]] = {}
        for wanted, subject in unknown:
            runs.setdefault(wanted.run or wanted.folder, []).append((wanted, subject))
        for group in runs.values():
            task = group[0][1].task
            configs = [subject.config for _, subject in group]
            sites = [site for one in configs for site in (one.read_site, one.write_site)]
            exclusion = measured_exclusion(task, self.model(task.model), sites, self)
            for wanted, _ in group:
                self._exclusions[wanted.digest] = exclusion

    def open(self, wanted: Wanted, subject: Subject) -> Bench:
        """A dictionary on its model.

        Raises:
            LmscopeError: The dictionary, the model or the text cannot be read.
        """
        model = self.model(subject.task.model)
        dictionary = self._dictionary(wanted, model)
        return Bench(subject, model, dictionary, self._exclusion(wanted, subject))

    def give_way(self) -> None:
        """Give up the model and the dictionaries where they are too large to stay beside others."""
        model = () if self._model is None else self._model.hf.state_dict().values()
        held = self._n_bytes() + sum(one.numel() * one.element_size() for one in model)
        if held > MAX_BESIDE:
            self._forget()

    def report(self, stage: str, message: str | None = None) -> None:
        """Tell where the process stands."""
        ids = tuple(id_ for id_, _ in self._dictionaries.values())
        name = self.beside if self._model is None else self._model.name
        self._tell(Report(stage, message, name, ids))  # pyright: ignore[reportArgumentType]

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Hear of the phases of loading."""
        if event == "phase":
            model = f" {fields['model']}" if "model" in fields else ""
            words = _WORDS.get(fields["phase"], str(fields["phase"]))
            self.report("loading", f"{words}{model}")
        elif message := fields.get("message"):
            self.report("loading", str(message))

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing of interest."""

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float]
    ) -> None:
        """Nothing of interest."""

    def _dictionary(self, wanted: Wanted, model: LanguageModel) -> Dictionary:
        if wanted.digest in self._dictionaries:
            self._dictionaries.move_to_end(wanted.digest)
            return self._dictionaries[wanted.digest][1]
        self.report("loading", f"Loading the dictionary {Path(wanted.folder).name}")
        dictionary = Dictionary.load(wanted.folder).to(model.device)
        check_fits(model, dictionary)
        self._dictionaries[wanted.digest] = (wanted.id, dictionary)
        while len(self._dictionaries) > 1 and self._n_bytes() > self._max_bytes:
            self._dictionaries.popitem(last=False)
        return dictionary

    def _exclusion(self, wanted: Wanted, subject: Subject) -> Exclusion:
        if wanted.median_norms:
            norms = wanted.median_norms
            return Exclusion({Site.parse(site): norm for site, norm in norms.items()})
        self.measure([(wanted, subject)])
        return self._exclusions[wanted.digest]

    def _n_bytes(self) -> int:
        held = [dictionary for _, dictionary in self._dictionaries.values()]
        tensors = [tensor for one in held for tensor in one.state_dict().values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def _forget(self) -> None:
        # Before the next one is loaded, so that two models are never in memory together.
        self._choice = self._model = None
        self._dictionaries.clear()
        self._exclusions.clear()
        gc.collect()
