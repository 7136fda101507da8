"""Groups: which dictionaries of a suite are trained at the same time, so that they fit the memory.

Dictionaries trained together equal the same ones trained alone, bit for bit, so how they are grouped
changes what an execution takes and never what it makes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lmscope.core.errors import RecipeError
from lmscope.dictionaries.config import DictionaryConfig
from lmscope.jobs.dictionary_choice import Wanted
from lmscope.jobs.memory import GIB, Memory

Needs = Callable[[Sequence[DictionaryConfig]], Memory]
"""What a group takes."""


@dataclass(frozen=True)
class DictionaryGroup:
    """Dictionaries that one stream of activations trains side by side.

    Attributes:
        number: From 1.
        names: The dictionaries.
        folder: Of its checkpoints, below the run's; empty for the only group of a run.
    """

    number: int
    names: tuple[str, ...]
    folder: str = ""

    def to_mapping(self) -> dict[str, object]:
        """Plain values, as an event holds them."""
        return {"number": self.number, "names": list(self.names), "folder": self.folder}

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> "DictionaryGroup":
        """What `to_mapping` gave."""
        names = values["names"]
        assert isinstance(names, list)
        return cls(int(str(values["number"])), tuple(map(str, names)), str(values["folder"]))


def plan_groups(
    wanted: Mapping[str, Wanted], needs: Needs, available: int
) -> list[DictionaryGroup]:
    """Groups that fit, by training tokens and then by depth, so that forward passes end early.

    Deterministic: dictionaries in the order of their deepest site go into one group until the next
    one would not fit, and then into as many groups of equal size, if these fit too. Within a
    group they keep the recipe's order.

    Args:
        wanted: The dictionaries by name.
        needs: What a group takes.
        available: Bytes of the device.

    Raises:
        RecipeError: A dictionary does not fit even alone.
    """
    order = {name: i for i, name in enumerate(wanted)}
    parts: list[list[str]] = []
    for budget in dict.fromkeys(one.n_tokens for one in wanted.values()):
        names = [name for name, one in wanted.items() if one.n_tokens == budget]
        names.sort(key=lambda name: depth(wanted[name]))
        parts += _even(_fill(names, wanted, needs, available), wanted, needs, available)
    return numbered([tuple(sorted(part, key=order.__getitem__)) for part in parts])


def numbered(parts: Sequence[Sequence[str]]) -> list[DictionaryGroup]:
    """Groups of these names, numbered from 1."""
    alone = len(parts) == 1
    return [
        DictionaryGroup(i, tuple(names), "" if alone else f"group-{i:02d}")
        for i, names in enumerate(parts, 1)
    ]


def regrouped(
    begun: Sequence[DictionaryGroup], rest: Sequence[DictionaryGroup]
) -> list[DictionaryGroup]:
    """Groups that have begun, unchanged, and after them the others, numbered on.

    A run's only group keeps its checkpoints where they are.
    """
    n = max((group.number for group in begun), default=0)
    later = [
        DictionaryGroup(n + i, group.names, f"group-{n + i:02d}") for i, group in enumerate(rest, 1)
    ]
    return [*begun, *later] if begun else list(rest)


def depth(wanted: Wanted) -> tuple[int, int, int]:
    """Where in a forward pass a dictionary's deepest site is computed."""
    return max(wanted.config.read_site.depth, wanted.config.write_site.depth)


def _fill(
    names: Sequence[str], wanted: Mapping[str, Wanted], needs: Needs, available: int
) -> list[list[str]]:
    parts: list[list[str]] = []
    for name in names:
        held = parts[-1] if parts else []
        both = [wanted[other].config for other in (*held, name)]
        if held and needs(both).peak <= available:
            held.append(name)
            continue
        check_fits(name, needs([wanted[name].config]), available)
        parts.append([name])
    return parts


def _even(
    parts: list[list[str]], wanted: Mapping[str, Wanted], needs: Needs, available: int
) -> list[list[str]]:
    """The same number of groups, of equal size where that fits: the last one is else a rest."""
    names = [name for part in parts for name in part]
    size = -(-len(names) // len(parts))
    even = [names[i : i + size] for i in range(0, len(names), size)]
    peaks = (needs([wanted[name].config for name in part]).peak for part in even)
    return even if all(peak <= available for peak in peaks) else parts


def check_fits(name: str, memory: Memory, available: int) -> None:
    """Refuse a dictionary that does not fit even alone.

    Raises:
        RecipeError: One sentence with what takes most, and what to change.
    """
    if memory.peak <= available:
        return
    part, what = remedy(memory)
    raise RecipeError(
        f"'{name}' alone takes {memory.peak / GIB:.2f} GiB and {available / GIB:.2f} GiB may be used; most "
        f"of it is for {part}: {what}, or allow more with --memory."
    )


def remedy(memory: Memory) -> tuple[str, str]:
    """What takes most, and what to change about that."""
    if memory.peak > memory.training:
        return "measuring it", "lower evaluation.batch_contexts"
    dictionary = memory.parameters + memory.gradients + memory.moments
    parts = {
        ("the model", "load it in a smaller format (model.dtype = 'bfloat16')"): memory.model,
        ("the dictionary", "take fewer latents, or share them (--mesh latent=2)"): dictionary,
        ("the training step", "lower stream.batch_tokens"): memory.step,
        ("the stream", "lower stream.block_contexts or stream.store_bytes"): memory.stream,
        ("the forward pass", "lower stream.forward_contexts"): memory.forward,
    }
    return max(parts, key=lambda one: parts[one])
