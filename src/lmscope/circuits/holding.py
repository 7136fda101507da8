"""Holding parts of a model at what they were on one run, by edits of the model itself."""

from collections.abc import Callable

from torch import Tensor

from lmscope.circuits.branches import FrozenAttention, FrozenMlp
from lmscope.circuits.frozen import Branch, Frozen
from lmscope.circuits.frozen_norm import FrozenNorm
from lmscope.core.config import Config
from lmscope.core.site import Site
from lmscope.models.edit import At, EditFunction


class Held(Config):
    """What stays as it was on the clean run while features change; all of it makes the model linear."""

    patterns: bool = False
    """Where attention looks."""
    norms: bool = False
    """By what norms divide."""
    gates: bool = False
    """What neurons of feed-forward layers let through, where no dictionary stands for them."""
    active: bool = False
    """Which latents fire: those that did, at their pre-activation, even below 0."""


NOTHING_HELD = Held()
ALL_HELD = Held(patterns=True, norms=True, gates=True, active=True)


class EditsInOrder:
    """Functions by site; those at one site apply as they were added."""

    def __init__(self) -> None:
        self._found: dict[Site, list[EditFunction]] = {}

    def add(self, site: Site, function: EditFunction) -> None:
        """Let one more function stand at a site."""
        self._found.setdefault(site, []).append(function)

    def look(self, site: Site) -> Callable[[], Tensor]:
        """What passed at a site last, as what was added before left it."""
        seen: list[Tensor] = []

        def keep(x: Tensor, _at: At) -> Tensor:
            seen[:] = [x]
            return x

        self.add(site, keep)
        return lambda: seen[0]

    def edits(self) -> dict[str | Site, EditFunction]:
        """One function a site, for `LanguageModel.edit`."""
        return {site: _composed(functions) for site, functions in self._found.items()}


def hold(edits: EditsInOrder, frozen: Frozen, branch: Branch, held: Held) -> None:
    """Add what holds one branch; streams below it must have got their own edits before."""
    linear, layer = branch.linear, branch.site.layer or 0
    if isinstance(linear, FrozenAttention):
        if held.patterns:
            pattern = linear.pattern
            edits.add(Site("pattern", layer), lambda x, _at: pattern.to(x).expand_as(x))
        if held.norms:
            _hold_norm(edits, Site("attn_norm", layer), Site("resid_pre", layer), linear.norm)
            if linear.norm_out is not None:
                z, out = edits.look(Site("z", layer)), linear.norm_out
                edits.add(branch.site, lambda x, _at: out(_from_heads(linear, z())).to(x))
    elif branch.norm is not None:
        if held.norms:
            parallel = frozen.replacement.model.family.arrangement == "parallel"
            below = Site("resid_pre" if parallel else "resid_mid", layer)
            _hold_norm(edits, Site("mlp_norm", layer), below, branch.norm)
        if held.gates:
            _hold_gates(edits, branch, layer)
        if held.norms and isinstance(linear, FrozenMlp) and linear.norm_out is not None:
            hidden, after = edits.look(Site("mlp_hidden", layer)), linear.norm_out
            edits.add(branch.site, lambda x, _at: after(_from_neurons(linear, hidden())).to(x))


def hold_final(edits: EditsInOrder, frozen: Frozen) -> None:
    """Add what holds the final norm."""
    x = edits.look(Site("resid_post", frozen.replacement.model.n_layers - 1))
    norm = frozen.norm
    edits.add(Site("final"), lambda y, _at: norm(x().to(norm.scale)).to(y))


def _hold_norm(edits: EditsInOrder, site: Site, below: Site, norm: FrozenNorm) -> None:
    x = edits.look(below)
    edits.add(site, lambda y, _at: norm.normalised(x().to(norm.scale)).to(y))


def _hold_gates(edits: EditsInOrder, branch: Branch, layer: int) -> None:
    if branch.leaf is not None:
        leaf = branch.leaf
        edits.add(branch.site, lambda y, _at: leaf.to(y).expand_as(y))
        return
    linear = branch.linear
    assert isinstance(linear, FrozenMlp)
    h = edits.look(Site("mlp_in", layer))

    def neurons(y: Tensor, _at: At) -> Tensor:
        x, found = h().to(linear.W_out), 0.0
        for path in linear.paths:
            into = x @ path.W_in
            found = found + (into if path.b_in is None else into + path.b_in) * path.gate
        assert isinstance(found, Tensor)
        return found.to(y)

    edits.add(Site("mlp_hidden", layer), neurons)


def _from_heads(linear: FrozenAttention, z: Tensor) -> Tensor:
    out = z.to(linear.W_O).flatten(-2) @ linear.W_O.flatten(0, 1)
    return out if linear.b_O is None else out + linear.b_O


def _from_neurons(linear: FrozenMlp, hidden: Tensor) -> Tensor:
    out = hidden.to(linear.W_out) @ linear.W_out
    return out if linear.b_out is None else out + linear.b_out


def _composed(functions: list[EditFunction]) -> EditFunction:
    def apply(x: Tensor, at: At) -> Tensor:
        for function in functions:
            x = function(x, at)
        return x

    return apply
