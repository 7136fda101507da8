"""circuit-tracer's transcoder sets: `config.yaml` and one `layer_{n}.safetensors` a layer.

Facts were read in circuit-tracer's loader (hanna2025circuittracer) and checked by loading with it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from lmscope.core.errors import ArtifactError, RecipeError, did_you_mean
from lmscope.core.site import Site, SitePattern, parse_pattern
from lmscope.core.tensor_files import write_tensors
from lmscope.dictionaries.config import DictionaryConfig, JumpReLU, ReLU, Sparsity, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.formats.flat_yaml import Value, flat_text, read_flat
from lmscope.dictionaries.formats.foreign import (
    Fields,
    check_shapes,
    config_of,
    frozen,
    in_raw_units,
    new_folder,
    plain,
    selecting_by_pre,
    sites,
)
from lmscope.dictionaries.formats.format import Given, Imported
from lmscope.dictionaries.formats.reading import read_safetensors

CONFIG_FILE: Final = "config.yaml"
KIND: Final = "transcoder_set"
THRESHOLD: Final = "activation_function.threshold"
ACTIVATIONS: Final = ("relu", "topk", "jumprelu", "jump_relu")

_LAYER_FILE: Final = re.compile(r"layer_(\d+)\.safetensors", re.ASCII)
_HOOKS: Final = {"mlp.hook_in": "mlp_in", "mlp.hook_out": "mlp_out"}
"""Hooks that circuit-tracer adds to a TransformerLens block: what its MLP takes and gives."""


@dataclass(frozen=True)
class _Set:
    """What `config.yaml` says, and where the layers lie."""

    folder: Path
    layers: Mapping[int, Path]
    activation: str | None = None
    k: int | None = None
    reads: str | None = None
    writes: str | None = None
    model: str | None = None
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


class CircuitTracer:
    """Transcoder sets. Shapes on disk: both matrices `[latent, width]`, as here; `W_skip [write, read]`."""

    name: Final = "circuit-tracer"
    convention: Final = (
        "Raw activations in and out, one width. b_dec is not taken from the input. Latents are ReLU, "
        "or pre-activations above a threshold of their own, or the k largest pre-activations whatever "
        "the decoder norms; of those circuit-tracer keeps negative ones too where fewer than k are "
        "positive, which here are zero. ln2.hook_normalized is before the norm's gain, mlp.hook_in "
        "after it. W_skip takes the raw input."
    )

    def recognises(self, folder: Path) -> bool:
        """Whether this is a layer's file, or a folder with such files or with a set's config."""
        if folder.is_file():
            return _LAYER_FILE.fullmatch(folder.name) is not None
        if _layer_files(folder):
            return True
        path = folder / CONFIG_FILE
        return path.is_file() and "model_kind" in path.read_text("utf-8", errors="replace")

    def read(self, folder: Path, given: Given) -> Imported:
        """Read one transcoder: a layer's file, or a set of a single layer.

        Raises:
            ArtifactError: A file is missing or damaged, or says what cannot be taken over.
            RecipeError: The set has many layers, or no site is known.
        """
        if not folder.is_file():
            whole = _read_config(folder)
            if len(whole.layers) != 1:
                raise RecipeError(
                    f"'{folder}' is a set of {len(whole.layers)} transcoders: name one of its files, "
                    "e.g. layer_0.safetensors, or read the whole set."
                )
            return _read_layer(whole, next(iter(whole.layers)), given)
        match = _LAYER_FILE.fullmatch(folder.name)
        if match is None:
            raise ArtifactError(f"'{folder}' is not named layer_N.safetensors: which layer is it?")
        layer = int(match[1])
        if (folder.parent / CONFIG_FILE).is_file():
            whole = _read_config(folder.parent)
            return _read_layer(whole, layer, given)
        note = f"There is no {CONFIG_FILE} beside it: without a threshold or k it is taken as ReLU."
        return _read_layer(_Set(folder.parent, {layer: folder}, notes=(note,)), layer, given)

    def read_set(self, folder: Path, given: Given) -> dict[str, Imported]:
        """Read every layer of a set, by the name `layer_{n}`.

        Args:
            folder: It holds `config.yaml`.
            given: Sites, if given, are patterns over layers: `mlp_in@*`.

        Raises:
            ArtifactError: As `read`.
            RecipeError: No site is known, or one layer's site was given.
        """
        whole = _read_config(folder)
        return {f"layer_{n}": _read_layer(whole, n, given) for n in sorted(whole.layers)}

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """Write a set of this one transcoder; circuit-tracer itself wants every layer from 0 on.

        Raises:
            ArtifactError: The format cannot say what it does, or something is at `folder`.
        """
        _write({_layer(dictionary.config): dictionary}, folder)

    def write_set(self, dictionaries: Mapping[str, Dictionary], folder: Path) -> None:
        """Write transcoders as one set.

        Args:
            dictionaries: One for each layer from 0 on, of equal width and sparsity; names say nothing.
            folder: A new folder.

        Raises:
            ArtifactError: The format cannot say what one of them does, they are no set, or something
                is at `folder`.
        """
        layers: dict[int, Dictionary] = {}
        for dictionary in dictionaries.values():
            layer = _layer(dictionary.config)
            if layer in layers:
                raise ArtifactError(f"Two transcoders of layer {layer} were given: a set has one.")
            layers[layer] = dictionary
        missing = [n for n in range(max(layers, default=0) + 1) if n not in layers]
        if missing:
            raise ArtifactError(
                f"circuit-tracer loads sets without gaps, and the transcoder of layer {missing[0]} is "
                "missing."
            )
        _write(layers, folder)


FORMAT: Final = CircuitTracer()


def _layer_files(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    matches = ((_LAYER_FILE.fullmatch(path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in matches if match is not None}


def _read_config(folder: Path) -> _Set:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ArtifactError(
            f"'{folder}' has no {CONFIG_FILE}, which says what its transcoders read and keep."
        )
    fields = Fields(read_flat(path), f"'{path}'")
    kind = fields.take("model_kind", str)
    if kind != KIND:
        raise ArtifactError(
            f"'{path}' is a '{kind}', whose latents write several layers; only a {KIND} can be taken "
            "over."
        )
    layers = _listed(fields, folder)
    if not layers:
        raise ArtifactError(f"'{folder}' holds no layer_N.safetensors: is the download complete?")
    activation = fields.take("activation", str, None)
    if activation not in (None, *ACTIVATIONS):
        near = did_you_mean(str(activation), ACTIVATIONS)
        raise ArtifactError(f"'{path}' has an unknown activation '{activation}'.{near}")
    return _Set(
        folder,
        layers,
        activation,
        fields.take("k", int, None),
        fields.take("feature_input_hook", str, None),
        fields.take("feature_output_hook", str, None),
        fields.take("model_name", str, None),
        metadata=fields.rest(),  # circuit-tracer's loader uses no other field
    )


def _listed(fields: Fields, folder: Path) -> dict[int, Path]:
    """The files of the layers: those that the config lists, else those in the folder."""
    listed = fields.take("transcoders", list, None)
    if listed is None:
        return _layer_files(folder)
    layers: dict[int, Path] = {}
    for layer, text in enumerate(listed):
        if str(text).startswith("hf://"):
            raise ArtifactError(
                f"{fields.source} lists '{text}' on the hub: fetch the files, and list them by their "
                "paths or put them beside it as layer_N.safetensors."
            )
        path = folder / str(text)
        if path.suffix != ".safetensors" or not path.is_file():
            raise ArtifactError(f"{fields.source} lists '{text}', which is no safetensors file.")
        layers[layer] = path
    return layers


def _read_layer(whole: _Set, layer: int, given: Given) -> Imported:
    if layer not in whole.layers:
        raise ArtifactError(f"'{whole.folder}' holds no layer_{layer}.safetensors.")
    path = whole.layers[layer]
    tensors = read_safetensors(path)
    n_latents, d_read, d_write = _sizes(tensors, path)
    sparsity = _sparsity(whole, tensors, path)
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (n_latents, d_read),
        "b_enc": (n_latents,),
        "W_dec": (n_latents, d_write),
        "b_dec": (d_write,),
    }
    if isinstance(sparsity, JumpReLU):
        tensors["threshold"] = _thresholds(tensors.pop(THRESHOLD), n_latents, path)
        shapes["threshold"] = (n_latents,)
    if "W_skip" in tensors:
        shapes["W_skip"] = (d_write, d_read)
    check_shapes(tensors, shapes, path)
    at = Given(_at(given.reads, layer), _at(given.writes, layer), given.model)
    read_hook, write_hook = _hook(whole.reads, layer), _hook(whole.writes, layer)
    reads, writes = sites(at, read_hook, write_hook, transcoder=True, source=path)
    config = config_of(
        {
            "reads": (reads,),
            "writes": (writes,),
            "d_read": d_read,
            "d_write": d_write,
            "n_latents": n_latents,
            "sparsity": sparsity.to_mapping(),
            "skip": "W_skip" in tensors,
            "normalisation": "none",
            "model": given.model or whole.model,
        },
        f"'{path}'",
    )
    notes = (*whole.notes, *_notes(whole, config))
    return Imported(frozen(config, tensors, path), notes, whole.metadata)


def _sizes(tensors: Mapping[str, Tensor], path: Path) -> tuple[int, int, int]:
    for name in ("W_enc", "W_dec"):
        if name not in tensors or tensors[name].ndim != 2:
            raise ArtifactError(f"'{path}' lacks a matrix '{name}': it is no transcoder's file.")
    return *tensors["W_enc"].shape, tensors["W_dec"].shape[1]  # pyright: ignore[reportReturnType]


def _sparsity(whole: _Set, tensors: dict[str, Tensor], path: Path) -> Sparsity:
    """As circuit-tracer's loader decides: the config first, then what the file holds."""
    stored = tensors.pop("k", None)
    k = int(stored) if whole.k is None and stored is not None else whole.k
    if whole.activation == "topk" or (whole.activation is None and stored is not None):
        if k is None or k < 1:
            raise ArtifactError(f"'{path}' belongs to a topk set whose config does not say k.")
        return TopK(k=k, weight_by_decoder_norm=False)
    if whole.activation in ("jumprelu", "jump_relu") and THRESHOLD not in tensors:
        raise ArtifactError(f"'{path}' lacks the tensor '{THRESHOLD}' that a jumprelu set has.")
    if whole.activation != "relu" and THRESHOLD in tensors:
        return JumpReLU()
    return ReLU()


def _thresholds(threshold: Tensor, n_latents: int, path: Path) -> Tensor:
    if bool((threshold < 0).any()):
        raise ArtifactError(
            f"'{path}' has thresholds below 0, which let negative latents through: these cannot be "
            "taken over."
        )
    return threshold.expand(n_latents).clone() if threshold.numel() == 1 else threshold


def _hook(hook: str | None, layer: int) -> str | None:
    """The site, or the TransformerLens name, of a hook that is named within its block."""
    if hook is None:
        return None
    return f"{_HOOKS[hook]}@{layer}" if hook in _HOOKS else f"blocks.{layer}.{hook}"


def _at(text: str | None, layer: int) -> str | None:
    """A given site at a layer: patterns over layers are for whole sets."""
    if text is None:
        return None
    site = parse_pattern(text)
    if isinstance(site, SitePattern):
        return str(Site(site.part, layer, site.lag, site.model))
    if site.layer != layer:
        raise RecipeError(
            f"'{text}' was given for the transcoder of layer {layer}: write {site.part}@* for a set."
        )
    return text


def _notes(whole: _Set, config: DictionaryConfig) -> list[str]:
    notes = ["b_dec is not taken from the input."]
    if isinstance(config.sparsity, TopK):
        notes.append(
            "circuit-tracer keeps negative latents where fewer than k are positive; here these are "
            "zero."
        )
    if config.read_site.part in ("mlp_norm", "mlp_in"):
        after = "after" if config.read_site.part == "mlp_in" else "before"
        notes.append(f"It reads the normalised input of the MLP {after} the norm's gain.")
    if whole.writes == "mlp.hook_out":
        notes.append(
            "mlp.hook_out was taken as what the MLP adds to the stream; in models with a norm behind "
            "the MLP (Gemma 2 and 3) it is the value before that norm, which is no site here."
        )
    return notes


def _layer(config: DictionaryConfig) -> int:
    read, write = config.read_site, config.write_site
    if not config.is_transcoder or write.layer is None or read.layer != write.layer:
        raise ArtifactError(
            "A transcoder set holds transcoders that read and write one layer; this dictionary reads "
            f"'{read}' and writes '{write}'."
        )
    if config.d_read != config.d_write:
        raise ArtifactError(
            "circuit-tracer has one width for input and output; this dictionary reads "
            f"{config.d_read} and writes {config.d_write} coordinates: choose another format."
        )
    return write.layer


def _write(layers: Mapping[int, Dictionary], folder: Path) -> None:
    written = {
        layer: selecting_by_pre(in_raw_units(dictionary, "circuit-tracer"))
        for layer, dictionary in layers.items()
    }
    config = _set_config(written, folder.name)
    with new_folder(folder) as new:
        for layer, dictionary in written.items():
            write_tensors(new / f"layer_{layer}.safetensors", _tensors(dictionary))
        (new / CONFIG_FILE).write_text(flat_text(config), encoding="utf-8")


def _set_config(layers: Mapping[int, Dictionary], name: str) -> dict[str, Value]:
    """What all layers share.

    Raises:
        ArtifactError: They differ in it.
    """
    facts = {_shared(dictionary.config): layer for layer, dictionary in sorted(layers.items())}
    if len(facts) > 1:
        first, second, *_ = facts.items()
        what = next(
            name
            for name, a, b in zip(_SHARED, first[0], second[0], strict=True)
            if a != b  # two different tuples differ somewhere
        )
        raise ArtifactError(
            f"The transcoders of a set share their {what}; those of layers {first[1]} and "
            f"{second[1]} differ in it."
        )
    reads, writes, _, _, kind, k, _, model = next(iter(facts))
    config: dict[str, Value] = {"model_kind": KIND}
    if model is not None:
        config["model_name"] = model
    config |= {"scan": name, "feature_input_hook": reads, "feature_output_hook": writes}
    # Without the key circuit-tracer takes the thresholds that it finds in the files.
    if kind != "jumprelu":
        config["activation"] = kind
    if k is not None:
        config["k"] = k
    return config


_SHARED: Final = (
    *("read site", "written site", "width", "number of latents"),
    *("sparsity", "k", "linear path", "model"),
)


def _shared(config: DictionaryConfig) -> tuple[Any, ...]:
    return (
        *(_hook_name(config.read_site), _hook_name(config.write_site)),
        *(config.d_read, config.n_latents, config.sparsity.kind),
        *(getattr(config.sparsity, "k", None), config.skip, config.model),
    )


def _hook_name(site: Site) -> str:
    known = {part: hook for hook, part in _HOOKS.items() if part != "mlp_out"}
    if hook := known.get(site.part):
        return hook
    name = site.transformer_lens
    if name is None:
        raise ArtifactError(
            f"'{site}' has no TransformerLens name, by which circuit-tracer finds it: choose another "
            "format."
        )
    return name.split(".", 2)[2]


def _tensors(dictionary: Dictionary) -> dict[str, Tensor]:
    tensors = {
        "W_enc": plain(dictionary.W_enc),
        "b_enc": plain(dictionary.b_enc),
        "W_dec": plain(dictionary.W_dec),
        "b_dec": plain(dictionary.b_dec),
    }
    if dictionary.threshold is not None:
        # Theirs lets negative latents through a negative threshold; ours are never negative.
        tensors[THRESHOLD] = plain(dictionary.threshold.clamp(min=0))
    if dictionary.W_skip is not None:
        tensors["W_skip"] = plain(dictionary.W_skip)
    return tensors
