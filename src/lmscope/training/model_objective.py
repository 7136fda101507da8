"""ModelObjective: what all objectives share that train the weights of a whole language model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmscope.models.language_model import LanguageModel
from lmscope.training.objective import ParameterGroup


class ModelObjective:
    """Trains every weight of a model in place; a subclass says `loss`.

    Args:
        model: Its weights are trained in place.
        weight_decay: Of the matrices of layers; gains, biases and embeddings have none.

    Attributes:
        name: As the model's.
        batch_coupled: False: each row of a batch has its own loss.
    """

    batch_coupled = False

    def __init__(self, model: LanguageModel, *, weight_decay: float) -> None:
        self.model = model
        self.name = model.name
        self._weight_decay = weight_decay
        model.hf.train().requires_grad_(True)

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """All weights: matrices of the layers, which decay, and the rest."""
        hf = self.model.hf
        named = dict(hf.named_parameters())
        blocks = hf.base_model.get_submodule(self.model.family.blocks)
        matrices = {id(p) for p in blocks.parameters() if p.dim() == 2}
        decays = {name: p for name, p in named.items() if id(p) in matrices}
        rest = {name: p for name, p in named.items() if id(p) not in matrices}
        return (ParameterGroup(decays, weight_decay=self._weight_decay), ParameterGroup(rest))

    def batches(self, stream: Iterator[Any]) -> Iterator[Any]:
        """The stream itself."""
        return stream

    def after_step(self, step: int) -> None:
        """Nothing."""

    def state(self) -> dict[str, Any]:
        """Nothing beside the weights."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing."""

    def finish(self) -> LanguageModel:
        """The trained model, frozen and in evaluation mode."""
        self.model.hf.eval().requires_grad_(False)
        return self.model
