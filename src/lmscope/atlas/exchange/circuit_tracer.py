"""Feature files for circuit-tracer's page: `features/index.json.gz` and one `layer_N.bin` a layer.

The page asks for the bytes of one latent by HTTP range, so it finds features wherever these files
lie beside the transcoders' weights, on a disk or on the hub (hanna2025circuittracer). Facts were read
in its page's `init-feature-examples.js`, `util.js` and `feature_models.py`.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from lmscope.atlas.exchange.content import AtlasContent, Entry
from lmscope.atlas.exchange.texts import TokenTexts
from lmscope.atlas.record import ExampleGroup, LatentRecord, histogram_edges
from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.files import atomic_folder

INDEX_FILE: Final = "index.json.gz"
_LENGTH_BYTES: Final = 4
_N_QUANTILES: Final = 99
_N_BINS: Final = 50


def write_circuit_tracer(contents: Sequence[AtlasContent], folder: Path) -> None:
    """Write the `features` folder of a set of dictionaries, one a layer.

    Args:
        contents: One atlas for each layer, of any number of layers.
        folder: The folder to make, named `features` where the page looks for it.

    Raises:
        RecipeError: Two are of one layer, or a site has no layer.
        ArtifactError: Something is at `folder`, or it cannot be written.
    """
    if folder.exists():
        raise ArtifactError(f"'{folder}' exists already: remove it or choose another name.")
    layers = _by_layer(contents)
    with atomic_folder(folder) as temporary:
        index: dict[str, Any] = {}
        for layer, content in sorted(layers.items()):
            name = f"layer_{layer}.bin"
            with (temporary / name).open("wb") as file:
                offsets = _write_layer(file, content)
            index[str(layer)] = {"filename": name, "offsets": offsets}
        text = json.dumps(index, separators=(",", ":")).encode()
        (temporary / INDEX_FILE).write_bytes(gzip.compress(text, mtime=0))


def _by_layer(contents: Iterable[AtlasContent]) -> dict[int, AtlasContent]:
    layers: dict[int, AtlasContent] = {}
    for content in contents:
        layer = content.read_site.layer
        if layer is None:
            raise RecipeError(
                f"'{content.read_site}' has no layer, and circuit-tracer keeps features by layer: "
                "choose an atlas of a layer."
            )
        if layer in layers:
            raise RecipeError(
                f"Two atlases of layer {layer} were given, and circuit-tracer keeps one a layer: "
                f"leave '{content.meta.dictionary}' or '{layers[layer].meta.dictionary}' out."
            )
        layers[layer] = content
    return layers


def _write_layer(file: BinaryIO, content: AtlasContent) -> list[int]:
    """Write a layer; where each latent begins, and where the last one ends."""
    texts = TokenTexts(content.corpus, as_escape)
    offsets, end, entries = [], 0, content.checked()
    entry = next(entries, None)
    for latent in range(content.meta.n_latents):
        offsets.append(end)
        found = entry if entry is not None and entry.record.latent == latent else None
        data = zlib.compress(_json(_feature(latent, found, content, texts)))
        file.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)
        end += _LENGTH_BYTES + len(data)
        entry = entry if found is None else next(entries, None)
    return [*offsets, end]


def as_escape(byte: int) -> str:
    r"""`\xe2`: the page puts neighbouring tokens with such escapes together to whole characters."""
    return f"\\x{byte:02x}"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _feature(
    latent: int, entry: Entry | None, content: AtlasContent, texts: TokenTexts
) -> dict[str, Any]:
    """What the page shows of a latent; one that was not chosen or never fired has no examples."""
    feature = {
        "transcoder_id": content.meta.dictionary,
        "index": latent,
        "examples_quantiles": [],
        "top_logits": [],
        "bottom_logits": [],
        "act_min": 0.0,
        "act_max": 0.0,
        "quantile_values": [],
        "histogram": [],
        "activation_frequency": 0.0,
    }
    if entry is None:
        return feature
    record = entry.record
    if entry.is_known:
        feature["label"] = entry.shown
    return feature | {
        "examples_quantiles": _quantiles(record.groups, content, texts),
        "top_logits": texts.many([one.id for one in record.top_logits]),
        "bottom_logits": texts.many([one.id for one in record.bottom_logits]),
        "act_max": record.max,
        "quantile_values": _percentiles(record),
        "histogram": _linear_histogram(record),
        "activation_frequency": record.density,
    }


def _quantiles(
    groups: Iterable[ExampleGroup], content: AtlasContent, texts: TokenTexts
) -> list[dict[str, Any]]:
    found = []
    for group in groups:
        name = "Top activations"
        if group.name != "top":
            name = f"Subsample interval {group.low:.4g} to {group.high:.4g} ({group.share:.0%})"
        examples, seen = [], set()
        for one in group.examples:
            tokens = content.corpus.tokens(one.start, one.length).tobytes()
            examples.append(
                {
                    "tokens_acts_list": [float(value) for value in one.activations()],
                    "train_token_ind": one.peak,
                    "is_repeated_datapoint": tokens in seen,
                    "tokens": texts.of(one),
                }
            )
            seen.add(tokens)
        if examples:
            found.append({"quantile_name": name, "examples": examples})
    return found


def _linear_histogram(record: LatentRecord) -> list[float]:
    """Firings in equally wide bins from 0 to the maximum, as the page draws them.

    Counts of a logarithmic bin are spread evenly over its width, so their sum stays.
    """
    if record.is_dead:
        return []
    edges = np.linspace(0, record.max, _N_BINS + 1)
    return [float(n) for n in np.diff(np.interp(edges, *_cumulative(record)))]


def _percentiles(record: LatentRecord) -> list[float]:
    """The activations that 1 %, 2 %, ... 99 % of firings do not exceed, from the histogram."""
    if record.is_dead:
        return []
    edges, below = _cumulative(record)
    wanted = below[-1] * np.arange(1, _N_QUANTILES + 1) / (_N_QUANTILES + 1)
    return [float(value) for value in np.interp(wanted, below, edges)]


def _cumulative(record: LatentRecord) -> tuple[np.ndarray, np.ndarray]:
    below = np.concatenate([[0], np.cumsum(record.histogram)]).astype(np.float64)
    return histogram_edges(record.max), below
