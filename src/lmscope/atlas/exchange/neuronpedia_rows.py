"""Rows of Neuronpedia's tables, as its importer reads them from JSON lines.

The importer takes its columns from the first line of a file, so that every row has every key.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field

from lmscope.atlas.exchange.content import AtlasContent, Entry
from lmscope.atlas.exchange.texts import TokenTexts
from lmscope.atlas.record import Example, ExampleGroup, LatentRecord, Weighted, histogram_edges
from lmscope.core.config import Config
from lmscope.core.errors import RecipeError

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=100)]

DECIMALS: Final = 4
_STEP: Final = 10.0**-DECIMALS
_DENSITY_DECIMALS: Final = 8
_EMPTY: Final = "\u200b"
"""For a token without text: the upload route refuses empty ones."""
_KINDS: Final = {
    "resid_post": "res",
    "resid_pre": "res",
    "attn_out": "att",
    "mlp_out": "mlp",
    "z": "att",
}


class NeuronpediaOptions(Config):
    """What an atlas is called on Neuronpedia, and whose it is; absent names are made from the atlas."""

    model: Name | None = None
    """Id of the model there."""
    source_set: Name | None = None
    """What dictionaries of one kind are called together, `lmscope-res-4608`."""
    suffix: Name | None = None
    """Tells dictionaries of one layer and set apart."""
    release: Name = "lmscope"
    """Id of the release that the set belongs to."""
    description: str = "Trained and described with lmscope."
    urls: tuple[str, ...] = ()
    creator_name: str = "lmscope"
    creator_id: str = "clkht01d40000jv08hvalcvly"
    """Id of a user there; the default is that of a fresh installation."""
    hub_repo: str | None = None
    """OWNER/REPO with the weights."""
    hub_folder: str | None = None
    dataset: str | None = None
    """Name of the text, for readers."""
    created_at: str = "1970-01-01T00:00:00Z"
    """Time of the rows; a fixed one keeps equal exports byte-equal."""


class Names:
    """The ids that all rows of an export share.

    Args:
        content: What is exported.
        options: What was asked for.

    Raises:
        RecipeError: The site has no layer, or a name that was given breaks a rule of the site.
    """

    def __init__(self, content: AtlasContent, options: NeuronpediaOptions) -> None:
        layer, part = content.read_site.layer, content.read_site.part
        if layer is None:
            raise RecipeError(
                f"'{content.read_site}' has no layer, and Neuronpedia names sources by layer: choose an "
                "atlas of a layer."
            )
        kind = "tc" if content.read_site != content.write_site else _KINDS.get(part, _slug(part))
        self.layer = layer
        self.model = options.model or _slug(content.meta.model.rpartition("/")[2])
        self.source_set = options.source_set or f"lmscope-{kind}-{content.meta.n_latents}"
        if "__" in self.source_set or self.source_set.isdigit():
            raise RecipeError(
                f"'{self.source_set}' cannot name a source set: it may not be a number nor hold '__', which "
                "begins the suffix of a source."
            )
        suffix = f"__{options.suffix}" if options.suffix else ""
        self.source = f"{layer}-{self.source_set}{suffix}"
        self.hook = content.write_site.transformer_lens


def table_rows(content: AtlasContent, names: Names, options: NeuronpediaOptions) -> dict[str, Any]:
    """The one row of each of the tables release, model, sourceset and source."""
    meta, config = content.meta, content.meta.dictionary_config
    made = {"creatorId": options.creator_id, "createdAt": options.created_at}
    who = {"creatorName": options.creator_name, "urls": list(options.urls), "creatorEmail": None}
    return {
        "release": {
            "name": options.release,
            "description": options.description,
            "descriptionShort": options.description,
            "creatorNameShort": options.creator_name,
            "visibility": "PUBLIC",
            "isNewUi": True,
            "featured": False,
            "defaultSourceSetName": names.source_set,
            "defaultSourceId": names.source,
            "defaultUmapSourceIds": [],
            **who,
            **made,
        },
        "model": {
            "id": names.model,
            "instruct": bool(re.search(r"instruct|-it\b|chat", names.model)),
            "displayName": meta.model,
            "displayNameShort": meta.model.rpartition("/")[2],
            "tlensId": None,
            "dimension": config.get("d_write"),
            "visibility": "PUBLIC",
            "defaultSourceSetName": names.source_set,
            "defaultSourceId": names.source,
            "inferenceEnabled": False,
            "layers": names.layer + 1,
            "neuronsPerLayer": 0,
            "owner": options.creator_name,
            "website": None,
            "updatedAt": options.created_at,
            **made,
        },
        "sourceset": {
            "modelId": names.model,
            "name": names.source_set,
            "hasDashboards": True,
            "visibility": "PUBLIC",
            "description": options.description,
            "type": str(content.read_site),
            "releaseName": options.release,
            "defaultOfModelId": None,
            "defaultRange": 1,
            "defaultShowBreaks": True,
            "showDfa": False,
            "showCorrelated": False,
            "showHeadAttribution": False,
            "showUmap": False,
            **who,
            **made,
        },
        "source": {
            "id": names.source,
            "modelId": names.model,
            "setName": names.source_set,
            "hasDashboards": True,
            "inferenceEnabled": False,
            "inferenceHosts": [],
            "saelensConfig": None,
            "saelensRelease": None,
            "saelensSaeId": None,
            "hfRepoId": options.hub_repo,
            "hfFolderId": options.hub_folder,
            "visibility": "PUBLIC",
            "defaultOfModelId": None,
            "hasUmap": False,
            "hasUmapLogSparsity": False,
            "hasUmapClusters": False,
            "num_prompts": meta.n_contexts,
            "num_tokens_in_prompt": meta.context_length,
            "dataset": options.dataset,
            "notes": f"Corpus {meta.corpus_digest[:16]}, dictionary {meta.dictionary_digest[:16]}.",
            **made,
        },
    }


class LatentRows:
    """Rows of the tables features, activations and explanations, latent by latent.

    Args:
        content: What is exported.
        names: The ids of this export.
        options: Whose it is.
        texts: What tokens are called.
        vectors: Decoder rows; None: no vector is written.
    """

    def __init__(
        self,
        content: AtlasContent,
        names: Names,
        options: NeuronpediaOptions,
        texts: TokenTexts,
        vectors: np.ndarray | None,
    ) -> None:
        self._content, self._names, self._options = content, names, options
        self._texts, self._vectors = texts, vectors

    def feature(self, entry: Entry) -> dict[str, Any]:
        """The row of the latent itself."""
        record = entry.record
        vector = None if self._vectors is None else self._vectors[record.latent]
        has_vector = vector is not None and self._names.hook is not None
        empty = ("neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1")
        for kind in ("neurons", "features"):
            empty += tuple(f"correlated_{kind}_{name}" for name in ("indices", "pearson", "l1"))
        empty += ("logits_hist_data_bar_heights", "logits_hist_data_bar_values")
        return {
            **self._place(record.latent),
            "maxActApprox": truncated(record.max),
            "hasVector": has_vector,
            "vector": [truncated(float(v)) for v in vector]
            if vector is not None and has_vector
            else [],
            "vectorLabel": None,
            "vectorDefaultSteerStrength": truncated(record.max) if has_vector else None,
            "hookName": self._names.hook if has_vector else None,
            "topkCosSimIndices": [one.id for one in record.neighbours],
            "topkCosSimValues": [truncated(one.value) for one in record.neighbours],
            **{name: [] for name in empty},
            "neg_str": [self.token(one.id) for one in record.bottom_logits],
            "neg_values": [truncated(one.value) for one in record.bottom_logits],
            "pos_str": [self.token(one.id) for one in record.top_logits],
            "pos_values": [truncated(one.value) for one in record.top_logits],
            "frac_nonzero": truncated(record.density, _DENSITY_DECIMALS),
            "freq_hist_data_bar_heights": list(record.histogram),
            "freq_hist_data_bar_values": _bin_centres(record),
            "decoder_weights_dist": [],
            "sourceSetName": self._names.source_set,
        }

    def activations(self, record: LatentRecord) -> Iterator[dict[str, Any]]:
        """A row for each example, in the order of the record."""
        for number, group in enumerate(record.groups):
            bounds = _bounds(group, record)
            for example in group.examples:
                yield {**self._activation(record.latent, number, example), **bounds}

    def explanation(self, entry: Entry) -> Iterator[dict[str, Any]]:
        """A row for a label that is known; a guess that scores too low does not leave the house."""
        label = entry.label
        if label is None or not entry.is_known:
            return
        said = {"explainer": label.explainer, "rule": label.rule}
        said |= {"precision": label.precision, "recall": label.recall}
        said |= {"scores": [vars(one) for one in entry.scores]}
        yield {
            "id": self._id("explanation", entry.record.latent, label.explainer, label.text),
            **self._place(entry.record.latent, creator="authorId"),
            "description": without_nul(label.text),
            "embedding": None,
            "triggeredById": None,
            "typeName": None,
            "explanationModelName": None,
            "notes": json.dumps(said, sort_keys=True),
        }

    def token(self, token: int) -> str:
        """What a token is called there."""
        return without_nul(self._texts.one(token)) or _EMPTY

    def tokens(self, example: Example) -> list[str]:
        """What the tokens of an example are called there."""
        ids = self._content.corpus.tokens(example.start, example.length)
        return [self.token(int(one)) for one in ids]

    def _activation(self, latent: int, group: int, example: Example) -> dict[str, Any]:
        values = [truncated(float(value)) for value in example.activations()]
        maximum = max(values)
        return {
            "id": self._id("activation", latent, group, example.start),
            **self._place(latent),
            "tokens": self.tokens(example),
            "values": values,
            "maxValue": maximum,
            "maxValueTokenIndex": values.index(maximum),
            "minValue": min(values),
            "dataSource": self._content.corpus.digest[:16],
            "dataIndex": str(example.start),
            "dfaValues": [],
            "dfaTargetIndex": None,
            "dfaMaxValue": None,
            "lossValues": [],
            "logitContributions": None,
            "qualifyingTokenIndex": None,
            "zIndices": None,
            "zValues": None,
        }

    def _place(self, latent: int, creator: str = "creatorId") -> dict[str, Any]:
        return {
            "modelId": self._names.model,
            "layer": self._names.source,
            "index": str(latent),
            creator: self._options.creator_id,
            "createdAt": self._options.created_at,
        }

    def _id(self, *parts: object) -> str:
        """Equal rows of two exports have one id, so that a second import changes nothing."""
        own = (self._content.meta.dictionary_digest, self._names.model, self._names.source)
        return "c" + hashlib.sha256(json.dumps([*own, *parts]).encode()).hexdigest()[:24]


def truncated(value: float, decimals: int = DECIMALS) -> float:
    """The value cut off toward zero; one that is not zero stays so, as zero means that nothing fires."""
    scale = 10.0**decimals
    # 1e-9 of a step makes up for decimal numbers that have no exact binary form.
    cut = math.trunc(value * scale + math.copysign(1e-9, value)) / scale
    return math.copysign(1 / scale, value) if cut == 0 != value else cut


def without_nul(text: str) -> str:
    """The text as the site keeps it: PostgreSQL has no NUL."""
    return text.replace("\x00", " ")


def _bounds(group: ExampleGroup, record: LatentRecord) -> dict[str, float]:
    """Least and largest peak, and share.

    The page sorts examples by `binMax`, puts equal ones under one heading, and moves an example that
    reaches its bound into the strongest interval. That interval ends at the maximum like the top group,
    so the top group's bound is one step above everything that is kept of the latent (activations of
    examples are rounded, and may exceed the maximum).
    """
    if group.name == "top":
        values = [one.max for each in record.groups for one in each.examples]
        highest = max(record.max, *(each.high for each in record.groups), *values)
        high = round(truncated(highest) + _STEP, DECIMALS)
        return {"binMin": -1.0, "binMax": high, "binContains": -1.0}
    return {
        "binMin": truncated(group.low),
        "binMax": truncated(group.high),
        "binContains": truncated(group.share),
    }


def _bin_centres(record: LatentRecord) -> list[float]:
    edges: Sequence[float] = histogram_edges(record.max).tolist()
    return [truncated((low + high) / 2) for low, high in pairwise(edges)]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.") or "model"


def unknown_to_neuronpedia(record: LatentRecord) -> dict[str, Any]:
    """What the format has no place for, so that `lmscope atlas import` finds an equal atlas."""

    def pairs(found: Sequence[Weighted]) -> list[list[int | float]]:
        return [[one.id, one.value] for one in found]

    names = ("latent", "n_fired", "density", "mean", "n_stretches", "n_documents", "document_share")
    return {
        **{name: getattr(record, name) for name in names},
        "groups": [
            {
                "name": group.name,
                "bounds": [group.low, group.high, group.share],
                "peaks": [one.peak for one in group.examples],
            }
            for group in record.groups
        ],
        "silent": list(record.silent),
        "peak_tokens": pairs(record.peak_tokens),
        "tokens": [[one.token, one.n_fired, one.n_seen] for one in record.tokens],
        "top_logits": [one.id for one in record.top_logits],
        "bottom_logits": [one.id for one in record.bottom_logits],
        "coactive": pairs(record.coactive),
    }
