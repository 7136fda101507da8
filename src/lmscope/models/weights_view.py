"""WeightsView: a model's matrices by what they do, per head and per layer, as views."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lmscope.core.errors import ModelError
from lmscope.core.site import GLOBAL_PARTS, Site
from lmscope.models.family import Family
from lmscope.models.layouts import Fused, Separate
from lmscope.models.norms import NormStyle
from lmscope.models.placement import weights_at_hand
from lmscope.models.taps import Body


@dataclass(frozen=True)
class AttentionWeights:
    """One layer's attention: `q = x W_Q + b_Q` per head, `attn = sum over heads of z W_O + b_O`.

    Attributes:
        W_Q, W_K, W_V: Input matrices; keys and values may have fewer heads.
        b_Q, b_K, b_V: Their biases, where there are any.
        W_O, b_O: The output matrix and bias. What is added to the stream is this, or what the
            norm `attn_out` of the family makes of it.
        scale: What scores are multiplied by.
        softcap: Scores s become softcap * tanh(s / softcap).
        window: How far back a position attends; None for any distance.
        q_norm, k_norm: RMS norms over head_dim, before the rotation.
    """

    W_Q: Float[Tensor, "head model head_dim"]
    W_K: Float[Tensor, "kv_head model head_dim"]
    W_V: Float[Tensor, "kv_head model head_dim"]
    W_O: Float[Tensor, "head head_dim model"]
    b_Q: Float[Tensor, "head head_dim"] | None  # noqa: N815
    b_K: Float[Tensor, "kv_head head_dim"] | None  # noqa: N815
    b_V: Float[Tensor, "kv_head head_dim"] | None  # noqa: N815
    b_O: Float[Tensor, "model"] | None  # noqa: N815
    scale: float
    softcap: float | None
    window: int | None
    q_norm: "NormWeights | None"
    k_norm: "NormWeights | None"

    def kv_head(self, head: int) -> int:
        """The key and value head that a query head uses."""
        return head // (self.W_Q.shape[0] // self.W_K.shape[0])


@dataclass(frozen=True)
class MlpWeights:
    """One feed-forward layer: `(act(x W_gate + b_gate) * (x W_in + b_in)) W_out + b_out`.

    Without a gate: `act(x W_in + b_in) W_out + b_out`. `activation` is the Hugging Face name of act.
    """

    W_in: Float[Tensor, "model hidden"]
    W_out: Float[Tensor, "hidden model"]
    W_gate: Float[Tensor, "model hidden"] | None
    b_in: Float[Tensor, "hidden"] | None
    b_out: Float[Tensor, "model"] | None
    b_gate: Float[Tensor, "hidden"] | None
    activation: str


@dataclass(frozen=True)
class NormWeights:
    """One norm, applied by calling it: `normalised(x) * gain + bias`.

    Attributes:
        style: Layer or RMS norm.
        gain: What the normalised value is multiplied by (Gemma's 1 + w already summed).
        bias: What is added then.
        eps: What keeps the division finite.
        module: The module that holds it.
    """

    style: NormStyle
    gain: Float[Tensor, "width"]
    bias: Float[Tensor, "width"] | None
    eps: float
    module: nn.Module

    def __call__(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """The norm of x."""
        return self.module(x)


class WeightsView:
    """The weights of one model; every tensor is a view of the model's own unless said otherwise.

    Of a model that keeps weights in memory or on disk for another device, those are copies.
    """

    def __init__(self, body: Body, family: Family) -> None:
        self._body = body
        self._family = family

    @property
    def W_E(self) -> Float[Tensor, "vocab model"]:  # noqa: N802 (the field's name)
        """Token embeddings as stored; the site `embed` holds them times `embed_scale`."""
        return _weight(self._body.hf.get_input_embeddings())

    @property
    def embed_scale(self) -> float:
        """What token embeddings are multiplied by (Gemma: about the root of d_model)."""
        scale = getattr(self._body.hf.get_input_embeddings(), "embed_scale", 1.0)
        return float(scale)

    @property
    def W_U(self) -> Float[Tensor, "model vocab"]:  # noqa: N802
        """The unembedding: logits are `x W_U + b_U`, softcapped, x being `final`.

        In encoders x is what the head's own transform makes of `final`.
        """
        return _matrix(self._head())

    @property
    def b_U(self) -> Float[Tensor, "vocab"] | None:  # noqa: N802
        """The unembedding's bias."""
        return _bias(self._head())

    @property
    def logit_softcap(self) -> float | None:
        """Logits l become logit_softcap * tanh(l / logit_softcap)."""
        return getattr(self._body.hf.config, "final_logit_softcapping", None)

    def norm(self, place: str, layer: int | None = None) -> NormWeights:
        """The norm at a place of the family's table `norms`.

        Args:
            place: `attn_norm` and `mlp_norm` (before the attention and the feed-forward layer),
                `final`; in some families `attn_out` and `mlp_out` (what these pass before they
                are added), `resid_mid` and `resid_post` (what the sum passes), `embed`.
            layer: The layer; None for `final` and `embed`.

        Raises:
            ModelError: The family has no norm there.
        """
        if place not in self._family.norms:
            known = ", ".join(self._family.norms) or "none"
            raise ModelError(f"{self._family.name} has no norm at '{place}'. Norms: {known}.")
        site = Site(place, None if place in GLOBAL_PARTS else layer)
        return self._norm(self._body.find(site, self._family.norms[place]))

    def attention(self, layer: int) -> AttentionWeights:
        """One layer's attention.

        Raises:
            ModelError: The family has no attention.
        """
        layout, block = self._family.attention, self._body.blocks[layer]
        if layout is None:
            raise ModelError(f"{self._family.name} has no attention, so it has no such weights.")
        config, attention = self._body.hf.config, block.get_submodule(layout.path)
        n_heads: int = config.num_attention_heads
        (w_q, b_q), (w_k, b_k), (w_v, b_v) = (
            _fused(attention, layout.inputs, n_heads)
            if isinstance(layout.inputs, Fused)
            else _separate(attention, layout.inputs, n_heads, config)
        )
        output = block.get_submodule(layout.output)
        norms = [self._norm(attention.get_submodule(p)) for p in layout.head_norms or ()]
        return AttentionWeights(
            W_Q=w_q,
            W_K=w_k,
            W_V=w_v,
            W_O=_matrix(output).unflatten(0, (n_heads, -1)),
            b_Q=b_q,
            b_K=b_k,
            b_V=b_v,
            b_O=_bias(output),
            scale=float(getattr(attention, "scaling", w_q.shape[-1] ** -0.5)),
            softcap=getattr(config, "attn_logit_softcapping", None),
            window=getattr(attention, "sliding_window", None),
            q_norm=norms[0] if norms else None,
            k_norm=norms[1] if norms else None,
        )

    def mlp(self, layer: int) -> MlpWeights:
        """One layer's feed-forward weights.

        Raises:
            ModelError: The family has no feed-forward layer.
        """
        layout, block = self._family.mlp, self._body.blocks[layer]
        if layout is None:
            raise ModelError(f"{self._family.name} has no feed-forward layer.")
        into, out = block.get_submodule(layout.into), block.get_submodule(layout.out)
        gate = None if layout.gate is None else block.get_submodule(layout.gate)
        return MlpWeights(
            W_in=_matrix(into),
            W_out=_matrix(out),
            W_gate=None if gate is None else _matrix(gate),
            b_in=_bias(into),
            b_out=_bias(out),
            b_gate=None if gate is None else _bias(gate),
            activation=self._activation(),
        )

    def _norm(self, module: nn.Module) -> NormWeights:
        style = self._family.norm
        with weights_at_hand(module):
            gain, bias = style.gain(module), style.bias(module)
        return NormWeights(style, gain, bias, style.eps(module), module)

    def _activation(self) -> str:
        config = self._body.hf.config
        for name in ("hidden_activation", "hidden_act", "activation_function"):
            if isinstance(value := getattr(config, name, None), str):
                return value
        raise ModelError(f"The configuration of {self._family.name} names no activation function.")

    def _head(self) -> nn.Module:
        head = self._body.hf.get_output_embeddings()
        if head is None:
            raise ModelError("This model has no language-model head, so it has no unembedding.")
        return head


HeadMatrices = list[tuple[Tensor, Tensor | None]]


def _separate(attention: nn.Module, paths: Separate, n_heads: int, config: object) -> HeadMatrices:
    n_kv_heads: int = getattr(config, "num_key_value_heads", None) or n_heads
    found: HeadMatrices = []
    for path, heads in ((paths.query, n_heads), (paths.key, n_kv_heads), (paths.value, n_kv_heads)):
        module = attention.get_submodule(path)
        matrix, bias = _matrix(module).unflatten(1, (heads, -1)), _bias(module)
        found.append(
            (matrix.transpose(0, 1), None if bias is None else bias.unflatten(0, (heads, -1)))
        )
    return found


def _fused(attention: nn.Module, layout: Fused, n_heads: int) -> HeadMatrices:
    module = attention.get_submodule(layout.path)
    shape, kind = ((3, n_heads, -1), 1) if layout.kind_first else ((n_heads, 3, -1), 2)
    matrices, bias = _matrix(module).unflatten(1, shape), _bias(module)
    biases = None if bias is None else bias.unflatten(0, shape)
    return [
        (
            matrices.select(kind, i).transpose(0, 1),
            None if biases is None else biases.select(kind - 1, i),
        )
        for i in range(3)
    ]


def _matrix(module: nn.Module) -> Float[Tensor, "read write"]:
    """A linear module's weight as inputs by outputs; GPT-2's Conv1D stores it so already."""
    weight = _weight(module)
    return weight if isinstance(module, Conv1D) else weight.T


def _weight(module: nn.Module) -> Tensor:
    with weights_at_hand(module):
        weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight


def _bias(module: nn.Module) -> Tensor | None:
    with weights_at_hand(module):
        bias = getattr(module, "bias", None)
    return bias if isinstance(bias, torch.Tensor) else None
