"""Trees of plain values and tensors, taken apart into JSON and named tensors and put together again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TENSOR_KEY = "tensor:"
PARTS_KEY = "parts"


@dataclass(frozen=True)
class Part:
    """Neighbouring rows of a tensor whose other rows other processes hold, in equal shares.

    Attributes:
        rows: Those that are here.
        number: Which share they are, counted from 0.
        n_parts: How many shares there are.
    """

    rows: Tensor
    number: int
    n_parts: int


def as_part(rows: Tensor, number: int, n_parts: int) -> "Tensor | Part":
    """Rows as a share of a tensor; the tensor itself when nobody else holds any."""
    return rows if n_parts == 1 else Part(rows, number, n_parts)


def take_part(whole: Tensor, number: int, n_parts: int) -> Tensor:
    """One of equally many rows of a tensor."""
    share = len(whole) // n_parts if n_parts > 1 else 0
    return whole if n_parts == 1 else whole[number * share : (number + 1) * share]


def take_apart(tree: Any, path: str = "") -> tuple[Any, dict[str, Tensor]]:
    """Plain values with each tensor replaced by its name, and the tensors by name.

    Args:
        tree: Nested dicts with text keys, lists, tuples, numbers, text, None, tensors, and parts.
        path: The name of the tree's root.

    Returns:
        What JSON can hold (a tensor at `a.b` became `{"tensor:": "a/b"}`, a part has `parts` beside it), and
        contiguous copies of the tensors and of the parts' rows on the CPU. Tuples come back as lists.

    Raises:
        TypeError: Something else is in the tree; a programming error of whoever made the state.
    """
    if isinstance(tree, Tensor):
        return {TENSOR_KEY: path}, {path: _copied(tree)}
    if isinstance(tree, Part):
        return {TENSOR_KEY: path, PARTS_KEY: tree.n_parts}, {path: _copied(tree.rows)}
    if isinstance(tree, Mapping):
        items = {_text_key(key, path): value for key, value in tree.items()}
    elif isinstance(tree, list | tuple):
        items = {str(i): value for i, value in enumerate(tree)}
    elif tree is None or isinstance(tree, bool | int | float | str):
        return tree, {}
    else:
        raise TypeError(f"The state at '{path}' is a {type(tree).__name__}, not plain or a tensor.")
    plain: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for key, value in items.items():
        plain[key], inner = take_apart(value, f"{path}/{key}" if path else key)
        tensors |= inner
    return (plain if isinstance(tree, Mapping) else list(plain.values())), tensors


def put_together(plain: Any, tensors: Sequence[Mapping[str, Tensor]]) -> Any:
    """The tree that `take_apart` was given, parts made whole, with its tensors on the CPU.

    Args:
        plain: What JSON held.
        tensors: By name, one mapping for each share; a tensor that is no part is in the first.
    """
    if isinstance(plain, list):
        return [put_together(value, tensors) for value in plain]
    if not isinstance(plain, dict):
        return plain
    if plain.keys() == {TENSOR_KEY}:
        return tensors[0][plain[TENSOR_KEY]]
    if plain.keys() == {TENSOR_KEY, PARTS_KEY}:
        name = plain[TENSOR_KEY]
        return torch.cat([share[name] for share in tensors[: plain[PARTS_KEY]]])
    return {key: put_together(value, tensors) for key, value in plain.items()}


def part_names(plain: Any) -> set[str]:
    """Names of the tensors in a tree taken apart that are parts."""
    if isinstance(plain, list):
        return set().union(*map(part_names, plain))
    if not isinstance(plain, dict):
        return set()
    if plain.keys() == {TENSOR_KEY, PARTS_KEY}:
        return {plain[TENSOR_KEY]}
    return set().union(*map(part_names, plain.values()))


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _text_key(key: Any, path: str) -> str:
    if not isinstance(key, str) or key == TENSOR_KEY:
        raise TypeError(f"The state at '{path}' has the key {key!r}; keys are text.")
    return key
