"""What readers and writers of other tools' folders share: fields, tensors, sites, the config we keep."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from lmscope.core.errors import ArtifactError, RecipeError, did_you_mean
from lmscope.core.files import atomic_folder
from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.folding import decoder_norms
from lmscope.dictionaries.formats.format import Given
from lmscope.dictionaries.formats.reading import choose_sites, read_json

KEPT: Final = "lmscope"
"""Key under which a foreign config keeps what only lmscope can say."""
_REQUIRED: Final = object()
T = TypeVar("T")


class Fields:
    """The fields of a config file, asked for one by one; what is never asked for is unknown."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.source = source
        self._values = dict(values)
        self._known: set[str] = set()

    def take(self, name: str, kind: type[T], default: Any = _REQUIRED) -> T:
        """A field of a type; the default stands for an absent one and for null.

        Raises:
            ArtifactError: It is absent and has no default, or of another type.
        """
        self._known.add(name)
        value = self._values.get(name)
        if value is None:
            if default is _REQUIRED:
                raise ArtifactError(f"{self.source} lacks '{name}'.")
            return default
        if kind is float and type(value) is int:
            value = float(value)  # JSON writes a whole number without a point
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise ArtifactError(
                f"'{name}' of {self.source} must be {kind.__name__}; {value!r} was found."
            )
        return value  # pyright: ignore[reportReturnType]

    def ignore(self, *names: str) -> None:
        """Fields that are known and change no latent and no output."""
        self._known.update(names)

    def rest(self) -> dict[str, Any]:
        """The fields that nobody asked for."""
        return {name: value for name, value in self._values.items() if name not in self._known}

    def refuse_rest(self) -> None:
        """Fail for a field that nobody asked for: it may change what the dictionary computes.

        Raises:
            ArtifactError: There is one.
        """
        for name in self.rest():
            raise ArtifactError(
                f"{self.source} has a field '{name}' that is not known, and it may change what the "
                f"dictionary computes.{did_you_mean(name, self._known)}"
            )


def fields_of(path: Path) -> Fields:
    """The fields of a JSON file.

    Raises:
        ArtifactError: The file is absent or holds no object.
    """
    return Fields(read_json(path), f"'{path}'")


def check_shapes(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], path: Path
) -> None:
    """Compare the tensors of a file with what its config asks for: names, shapes, floats.

    Raises:
        ArtifactError: The first difference.
    """
    if missing := sorted(shapes.keys() - tensors.keys()):
        raise ArtifactError(f"'{path}' lacks the tensor '{missing[0]}'.")
    if surplus := sorted(tensors.keys() - shapes.keys()):
        near = did_you_mean(surplus[0], shapes)
        raise ArtifactError(f"'{path}' holds a tensor '{surplus[0]}' that is not known.{near}")
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != shape:
            raise ArtifactError(
                f"'{name}' of '{path}' has shape {list(tensor.shape)} where its configuration asks "
                f"for {list(shape)}."
            )
        if not tensor.is_floating_point():
            raise ArtifactError(f"'{name}' of '{path}' is {tensor.dtype}, no float.")


def sites(
    given: Given, reads: str | None, writes: str | None, *, transcoder: bool, source: Path
) -> tuple[str, str]:
    """Which site a dictionary reads and which it writes; what is given wins.

    Args:
        given: What the user says.
        reads: What the files say.
        writes: What the files say; only for a transcoder.
        transcoder: Whether it writes another site than it reads.
        source: The file, for the message.

    Raises:
        RecipeError: One of the two is said nowhere, or by a name that is no site here.
    """
    if transcoder and (given.writes or writes) is None:
        raise RecipeError(
            f"'{source}' is a transcoder and does not say which site it writes: give it, "
            "e.g. --writes mlp_out@12."
        )
    return choose_sites(given, reads, writes if transcoder else None, source)


def config_of(values: Mapping[str, Any], source: str) -> DictionaryConfig:
    """A config from what foreign files say.

    Raises:
        ArtifactError: The values contradict each other.
    """
    try:
        return DictionaryConfig.from_mapping(values, source)
    except RecipeError as error:
        raise ArtifactError(str(error)) from None


def keep(config: DictionaryConfig) -> dict[str, Any]:
    """What a foreign config file takes along, so that `restore` gives the config back whole."""
    return {"format": 1, "dictionary": config.to_mapping()}


def restore(
    found: DictionaryConfig, kept: Any, given: Given, *, norms_matter: bool, source: str
) -> tuple[DictionaryConfig, tuple[str, ...]]:
    """The config that `keep` put into a foreign file, if it still says what the file says.

    Args:
        found: What the foreign fields say.
        kept: What lies under `KEPT`, None if nothing.
        given: What the user says; it wins.
        norms_matter: Whether to weight a TopK score by the decoder norm changes the choice.
        source: The file, for messages.

    Returns:
        The config, and a sentence if the kept one was left aside.

    Raises:
        ArtifactError: What was kept is no config.
    """
    if kept is None:
        return found, ()
    if not isinstance(kept, dict) or not isinstance(kept.get("dictionary"), dict):
        raise ArtifactError(f"'{KEPT}' of {source} holds no configuration.")
    config = config_of(kept["dictionary"], f"'{KEPT}' of {source}")
    if _facts(config, norms_matter) != _facts(found, norms_matter):
        return found, (
            "The files were changed after lmscope wrote them, so its own configuration in them "
            "was left aside.",
        )
    update = {
        "reads": None if given.reads is None else found.reads,
        "writes": None if given.reads is None and given.writes is None else found.writes,
        "model": given.model,
    }
    changed = {name: value for name, value in update.items() if value is not None}
    return config_of({**config.to_mapping(), **changed}, source), ()


def _facts(config: DictionaryConfig, norms_matter: bool) -> tuple[Any, ...]:
    sparsity = config.sparsity
    weighted = isinstance(sparsity, TopK) and sparsity.weight_by_decoder_norm
    return (
        *(config.d_read, config.d_write, config.n_latents, config.is_transcoder, config.skip),
        *(config.apply_b_dec_to_input,),
        *(sparsity.kind, getattr(sparsity, "k", None), weighted and norms_matter),
    )


def in_raw_units(dictionary: Dictionary, writer: str) -> Dictionary:
    """The dictionary itself if it has no scales and decides token by token, else its folded form.

    Raises:
        ArtifactError: It is a BatchTopK one whose threshold was never estimated.
    """
    batch = isinstance(dictionary.config.sparsity, BatchTopK)
    if batch and (dictionary.threshold is None or bool(dictionary.threshold.isnan())):
        raise ArtifactError(
            f"{writer} keeps latents above a threshold, and this BatchTopK dictionary has none yet: "
            "train it for a step or use calibrate_threshold."
        )
    scaled = float(dictionary.scale_in) != 1 or float(dictionary.scale_out) != 1
    return dictionary.fold() if batch or scaled else dictionary


def rows_are_unit(W_dec: Tensor) -> bool:
    """Whether decoder norms cannot change a choice: each row has norm 1 or 0, within rounding."""
    norms = decoder_norms(W_dec.double())
    near = (norms - 1).abs() <= 4 * torch.finfo(W_dec.dtype).eps
    return bool((near | (norms == 0)).all())


def selecting_by_pre(dictionary: Dictionary) -> Dictionary:
    """The dictionary, folded if its TopK weights scores by decoder norms that are not 1.

    For formats that select by pre-activations alone: folded, the norms sit in those.
    """
    sparsity = dictionary.config.sparsity
    weighted = isinstance(sparsity, TopK) and sparsity.weight_by_decoder_norm
    return dictionary.fold() if weighted and not rows_are_unit(dictionary.W_dec) else dictionary


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes its name when the block ends well.

    Raises:
        ArtifactError: Something is there already, or it cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ArtifactError(f"'{folder}' is there already: choose a new name or remove it.")
    with atomic_folder(folder) as temporary:
        yield temporary


def plain(tensor: Tensor) -> Tensor:
    """A tensor as a file holds it: detached, on the CPU, its elements in order and its own."""
    return tensor.detach().cpu().contiguous().clone()


def frozen(config: DictionaryConfig, tensors: Mapping[str, Tensor], path: Path) -> Dictionary:
    """A dictionary of the tensors of a file, its scales 1 unless they are given.

    Raises:
        ArtifactError: The tensors do not fit the config.
    """
    dtype = tensors["W_enc"].dtype
    one = torch.tensor(1.0, dtype=dtype)
    found = {"scale_in": one, "scale_out": one.clone()}
    found |= {name: tensor.contiguous() for name, tensor in tensors.items()}
    try:
        return Dictionary.from_tensors(config, found)
    except ArtifactError as error:
        raise ArtifactError(f"'{path}' holds no usable dictionary: {error}") from None
