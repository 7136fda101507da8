"""Attention and feed-forward layers of one run as linear maps, forwards and transposed.

Everything that is not linear is taken from the run: attention patterns, the scales of norms, and what
the activation function of a feed-forward layer lets through.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.circuits.frozen_norm import Biases, BiasKey, FrozenNorm
from lmscope.models.activation import self_gate
from lmscope.models.weights_view import AttentionWeights, MlpWeights


@dataclass(frozen=True, eq=False)
class FrozenAttention:
    """One layer's attention with its pattern given (elhage2021framework, OV circuit).

    Attributes:
        layer: Its layer.
        pattern: From the run.
        norm: Before it.
        norm_out: After it, in families with one.
        W_V, b_V: One for each group of heads that share values.
        W_O, b_O: Of each head.
    """

    layer: int
    pattern: Float[Tensor, "head query key"]
    norm: FrozenNorm
    norm_out: FrozenNorm | None
    W_V: Float[Tensor, "kv_head model head_dim"]
    b_V: Float[Tensor, "kv_head head_dim"] | None  # noqa: N815
    W_O: Float[Tensor, "head head_dim model"]
    b_O: Float[Tensor, "model"] | None  # noqa: N815

    def mixed(self, x: Float[Tensor, "pos model"]) -> Float[Tensor, "pos model"]:
        """The output before the norm after it."""
        values = torch.einsum("jd,gde->gje", self.norm(x), self.W_V)
        if self.b_V is not None:
            values = values + self.b_V[:, None]
        z = self.pattern @ values.repeat_interleave(self.n_shared, 0)
        out = torch.einsum("hie,hed->id", z, self.W_O)
        return out if self.b_O is None else out + self.b_O

    def __call__(self, x: Float[Tensor, "pos model"]) -> Float[Tensor, "pos model"]:
        """What it adds to the stream."""
        out = self.mixed(x)
        return out if self.norm_out is None else self.norm_out(out)

    def back(
        self, read: Float[Tensor, "target pos model"], biases: Biases
    ) -> Float[Tensor, "target pos model"]:
        """Read vectors of the output as read vectors of the stream below."""
        n, length, width = read.shape
        groups = self._grouped(self._at_heads(read, biases))
        if self.b_V is not None:
            sums = torch.einsum("gjte,ge->t", groups, self.b_V)
            biases.add(BiasKey(self.layer, "b_V"), sums)
        values = self.W_V.transpose(1, 2).flatten(0, 1)
        below = groups.permute(1, 2, 0, 3).reshape(length * n, len(values)) @ values
        return self.norm.back(below.view(length, n, width).transpose(0, 1), biases)

    def back_by_head(
        self, read: Float[Tensor, "target pos model"], biases: Biases
    ) -> Float[Tensor, "target head pos model"]:
        """As `back`, each head by itself; biases are those of all heads together."""
        n, length, _ = read.shape
        at_z = self._at_heads(read, biases).view(length, n, *self.W_O.shape[:2])
        passed = torch.einsum("hij,ithe->thje", self.pattern, at_z)
        values = self.W_V.repeat_interleave(self.n_shared, 0)
        if self.b_V is not None:
            shared = self.b_V.repeat_interleave(self.n_shared, 0)
            biases.add(BiasKey(self.layer, "b_V"), torch.einsum("thje,he->t", passed, shared))
        below = torch.einsum("thje,hde->thjd", passed, values)
        biases.of(self.norm.key, below.sum(1), self.norm.bias)
        return self.norm.back_normalised(below * self.norm.gain)

    @property
    def n_shared(self) -> int:
        """Heads that share one matrix of values."""
        return self.W_O.shape[0] // self.W_V.shape[0]

    def until(self, length: int) -> "FrozenAttention":
        """On the first positions, which see no later ones."""
        return replace(
            self,
            pattern=self.pattern[:, :length, :length],
            norm=self.norm.until(length),
            norm_out=None if self.norm_out is None else self.norm_out.until(length),
        )

    def _at_heads(
        self, read: Float[Tensor, "target pos model"], biases: Biases
    ) -> Float[Tensor, "pos target head_dims"]:
        """Read vectors of what each head takes over, all heads beside each other.

        Positions come first, so that patterns are applied to all targets in one product.
        """
        if self.norm_out is not None:
            read = self.norm_out.back(read, biases)
        biases.of(BiasKey(self.layer, "b_O"), read, self.b_O)
        n, length, width = read.shape
        flat = read.transpose(0, 1).reshape(length * n, width)
        per_head = self.W_O.flatten(0, 1)
        return (flat @ per_head.T).view(length, n, len(per_head))

    def _grouped(
        self, at_heads: Float[Tensor, "pos target head_dims"]
    ) -> Float[Tensor, "kv_head pos target head_dim"]:
        """The same at the keys, summed over the heads that share values: one product a group."""
        length, n, _ = at_heads.shape
        groups, width = self.W_V.shape[0], self.W_O.shape[1]
        queries = at_heads.view(length, n, groups, self.n_shared, width).permute(2, 3, 0, 1, 4)
        rows = self.n_shared * length
        pattern = self.pattern.reshape(groups, rows, length)
        moved = pattern.transpose(1, 2) @ queries.reshape(groups, rows, n * width)
        return moved.view(groups, length, n, width)

    @classmethod
    def of(
        cls,
        layer: int,
        weights: AttentionWeights,
        pattern: Float[Tensor, "head query key"],
        norm: FrozenNorm,
    ) -> "FrozenAttention":
        """Without a norm after it; see `with_norm_out`."""
        wide = [None if b is None else b.detach().to(pattern) for b in (weights.b_V, weights.b_O)]
        return cls(
            layer=layer,
            pattern=pattern,
            norm=norm,
            norm_out=None,
            W_V=weights.W_V.detach().to(pattern),
            b_V=wide[0],
            W_O=weights.W_O.detach().to(pattern),
            b_O=wide[1],
        )


@dataclass(frozen=True, eq=False)
class Path:
    """One linear way through a feed-forward layer: `((x W_in + b_in) * gate) W_out`.

    Attributes:
        W_in, b_in: Into the neurons.
        gate: What each neuron lets through at each position.
        name: What its bias is called.
    """

    W_in: Float[Tensor, "model hidden"]
    b_in: Float[Tensor, "hidden"] | None
    gate: Float[Tensor, "pos hidden"]
    name: str


@dataclass(frozen=True, eq=False)
class FrozenMlp:
    """One feed-forward layer whose gates are given (he2024othello, approximate direct contributions).

    The sum over what is below it, its biases included, is its output exactly.

    Attributes:
        layer: Its layer.
        norm: Before it.
        norm_out: After it, in families with one.
        paths: One, or two of a gated layer under the half rule.
        W_out, b_out: Out of the neurons.
    """

    layer: int
    norm: FrozenNorm
    norm_out: FrozenNorm | None
    paths: tuple[Path, ...]
    W_out: Float[Tensor, "hidden model"]
    b_out: Float[Tensor, "model"] | None

    def mixed(self, x: Float[Tensor, "pos model"]) -> Float[Tensor, "pos model"]:
        """The output before the norm after it."""
        h = self.norm(x)
        parts = [_into(h, path.W_in, path.b_in) * path.gate for path in self.paths]
        out = torch.stack(parts).sum(0) @ self.W_out
        return out if self.b_out is None else out + self.b_out

    def __call__(self, x: Float[Tensor, "pos model"]) -> Float[Tensor, "pos model"]:
        """What it adds to the stream."""
        out = self.mixed(x)
        return out if self.norm_out is None else self.norm_out(out)

    def until(self, length: int) -> "FrozenMlp":
        """On the first positions."""
        return replace(
            self,
            norm=self.norm.until(length),
            norm_out=None if self.norm_out is None else self.norm_out.until(length),
            paths=tuple(replace(path, gate=path.gate[:length]) for path in self.paths),
        )

    def back(
        self, read: Float[Tensor, "target pos model"], biases: Biases
    ) -> Float[Tensor, "target pos model"]:
        """Read vectors of the output as read vectors of the stream below."""
        if self.norm_out is not None:
            read = self.norm_out.back(read, biases)
        biases.of(BiasKey(self.layer, "b_out"), read, self.b_out)
        at_neurons = read @ self.W_out.T
        below = torch.zeros_like(read)
        for path in self.paths:
            passed = at_neurons * path.gate
            biases.of(BiasKey(self.layer, path.name), passed, path.b_in)
            below = below + passed @ path.W_in.T
        return self.norm.back(below, biases)


def paths_of(
    weights: MlpWeights, x: Float[Tensor, "pos model"], *, half_rule: bool
) -> tuple[Path, ...]:
    """The linear ways through a feed-forward layer.

    Args:
        weights: Its weights.
        x: Its input, after the norm.
        half_rule: Of a gated layer, whether both factors carry half each; otherwise the gate is frozen.
    """
    lets_through = self_gate(weights.activation)
    w_in, b_in = _pair(weights.W_in, weights.b_in, x)
    if weights.W_gate is None:
        return (Path(w_in, b_in, lets_through(_into(x, w_in, b_in)), "b_in"),)
    w_gate, b_gate = _pair(weights.W_gate, weights.b_gate, x)
    entered = _into(x, w_gate, b_gate)
    gate = lets_through(entered)
    opened = entered * gate
    if not half_rule:
        return (Path(w_in, b_in, opened, "b_in"),)
    carried = _into(x, w_in, b_in) * gate
    return (Path(w_in, b_in, opened / 2, "b_in"), Path(w_gate, b_gate, carried / 2, "b_gate"))


def _pair(matrix: Tensor, bias: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor | None]:
    return matrix.detach().to(like), None if bias is None else bias.detach().to(like)


def _into(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    found = x @ matrix
    return found if bias is None else found + bias
