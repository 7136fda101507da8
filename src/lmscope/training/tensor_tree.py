"""Trees of plain values and tensors, taken apart into JSON and named tensors and put together again."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

TENSOR_KEY = "tensor:"


def take_apart(tree: Any, path: str = "") -> tuple[Any, dict[str, Tensor]]:
    """Plain values with each tensor replaced by its name, and the tensors by name.

    Args:
        tree: Nested dicts with text keys, lists, tuples, numbers, text, None, and tensors.
        path: The name of the tree's root.

    Returns:
        What JSON can hold (a tensor at `a.b` became `{"tensor:": "a/b"}`), and contiguous copies of the tensors on
        the CPU. Tuples come back as lists.

    Raises:
        TypeError: Something else is in the tree; a programming error of whoever made the state.
    """
    if isinstance(tree, Tensor):
        return {TENSOR_KEY: path}, {path: tree.detach().to("cpu", copy=True).contiguous()}
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


def put_together(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The tree that `take_apart` was given, with its tensors on the CPU."""
    if isinstance(plain, list):
        return [put_together(value, tensors) for value in plain]
    if not isinstance(plain, dict):
        return plain
    if plain.keys() == {TENSOR_KEY}:
        return tensors[plain[TENSOR_KEY]]
    return {key: put_together(value, tensors) for key, value in plain.items()}


def _text_key(key: Any, path: str) -> str:
    if not isinstance(key, str) or key == TENSOR_KEY:
        raise TypeError(f"The state at '{path}' has the key {key!r}; keys are text.")
    return key
