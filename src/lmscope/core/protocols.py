"""Small protocols through which packages meet without knowing each other."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Tokenizer(Protocol):
    """What the project asks of a tokenizer; every Hugging Face tokenizer has it."""

    bos_token_id: int | None
    eos_token_id: int | None
    pad_token_id: int | None
    all_special_ids: list[int]

    def __len__(self) -> int: ...

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text."""
        ...

    def decode(self, token_ids: Sequence[int], /) -> str:
        """Text of token ids."""
        ...


@runtime_checkable
class Listener(Protocol):
    """Follows a run; may show or forward what it hears, and never changes the run."""

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Something happened once: a phase began, a checkpoint was written."""
        ...

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers of one step."""
        ...

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float]
    ) -> None:
        """Work done so far within a phase, in the phase's own unit."""
        ...
