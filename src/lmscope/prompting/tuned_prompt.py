"""TunedPrompt: what tuning found, as a few numbers and all that says what they mean."""

import json
from pathlib import Path
from typing import Final

import numpy as np
import torch

from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, ModelError
from lmscope.core.tensor_files import read_tensors, write_tensors
from lmscope.models.language_model import LanguageModel
from lmscope.prompting.method import Subspaces
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.tuning import Numbers
from lmscope.runs.artifact import read_manifest, write_artifact
from lmscope.text.tasks.choices.task import ChoiceTask

KIND: Final = "tuned-prompt"
FORMAT_VERSION: Final = 1
_RECORD: Final = "prompt.json"
_NUMBERS: Final = "numbers.safetensors"


class TunedPrompt(Config):
    """A soft prompt for one task and one model, without its numbers."""

    model: str
    weights_hash: str
    task: ChoiceTask
    form: str
    """Which form of the task."""
    prompt: tuple[int, ...]
    """Token ids on which it stands."""
    spaces: Subspaces
    n_calls: int
    """Calls on training examples until it was found."""
    dev_metric: float
    dev_loss: float


class SavedPrompt:
    """A tuned prompt with its numbers.

    Attributes:
        record: What they mean.
        numbers: Of each block; None where it adds nothing.
    """

    def __init__(self, record: TunedPrompt, numbers: Numbers) -> None:
        self.record = record
        self.numbers = numbers

    @property
    def n_numbers(self) -> int:
        """How many numbers were found."""
        return sum(len(own) for own in self.numbers if own is not None)

    def prompts(self) -> Prompts:
        """What is added, layer by layer."""
        added = {}
        for own, projections in zip(self.numbers, self.record.spaces.projections(), strict=True):
            if own is None:
                continue
            z = torch.from_numpy(np.array(own)).float()[None]
            added |= {layer: one.apply(z) for layer, one in projections.items()}
        return Prompts(added)

    def check_model(self, model: LanguageModel) -> None:
        """Refuse a model that it was not tuned for.

        Raises:
            ModelError: Its weights are others.
        """
        if model.weights_hash != self.record.weights_hash:
            raise ModelError(
                f"The prompt was tuned for {self.record.model} with other weights than {model.name} has: "
                "load the model that it names, or tune a prompt for this one."
            )

    def save(self, path: Path | str) -> None:
        """Write it as an artifact: a record, and numbers in float64.

        Raises:
            ArtifactError: Something stands there, or the disk is full.
        """
        with write_artifact(path, KIND, FORMAT_VERSION) as folder:
            text = json.dumps(self.record.to_mapping(), indent=1, ensure_ascii=False)
            (folder / _RECORD).write_text(text + "\n", encoding="utf-8")
            held = {
                f"block-{i:04d}": torch.from_numpy(np.array(own))
                for i, own in enumerate(self.numbers)
                if own is not None
            }
            write_tensors(folder / _NUMBERS, held)

    @classmethod
    def load(cls, path: Path | str) -> "SavedPrompt":
        """Read one.

        Raises:
            ArtifactError: It is missing, damaged or of another kind.
        """
        path = Path(path)
        read_manifest(path, KIND, [FORMAT_VERSION], verify=True)
        values = json.loads((path / _RECORD).read_text(encoding="utf-8"))
        record = TunedPrompt.from_mapping(values, f"'{path / _RECORD}'")
        held = read_tensors(path / _NUMBERS)
        numbers = []
        for i in range(len(record.spaces.blocks)):
            own = held.get(f"block-{i:04d}")
            if own is not None and own.shape != (record.spaces.projection.d_subspace,):
                raise ArtifactError(f"'{path / _NUMBERS}' does not fit its record: copy it again.")
            numbers.append(None if own is None else own.numpy())
        return cls(record, tuple(numbers))
