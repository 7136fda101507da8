"""Interventions: features changed in the model itself, beside what the linear model predicts of it.

A prompt is run twice in one batch, as it is and changed, both with the same parts held; the target is
read in both. With nothing held this is the model as it is used; with all held it is the linear model.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.circuits.feature_sets import FeatureNode, active_below, features_of
from lmscope.circuits.features import ActiveFeatures
from lmscope.circuits.frozen import Frozen
from lmscope.circuits.holding import NOTHING_HELD, EditsInOrder, Held, hold, hold_final
from lmscope.circuits.linear_model import Change, run_linear
from lmscope.circuits.means import Baseline
from lmscope.circuits.readings import reading_of
from lmscope.circuits.targets import Start, Target, position_of
from lmscope.core.config import Config
from lmscope.core.errors import DataError
from lmscope.core.site import Site
from lmscope.dictionaries.pairs import keep_pairs, sum_rows
from lmscope.models.batch import Batch

Errors = Literal["live", "frozen", "removed"]
LatentRule = Callable[[Float[Tensor, "row pos latent"]], Float[Tensor, "row pos latent"]]
"""From the latents of a site in each row to those that are written."""


class InterventionOptions(Config):
    """How features are changed in the model."""

    held: Held = NOTHING_HELD
    """What stays as it was on the clean run."""
    errors: Errors = "live"
    """What dictionaries leave over. `live`: what they leave over of the changed run, so that a change
    adds what it writes and touches nothing else. `frozen`: what it was on the clean run, as in the linear
    model. `removed`: nothing, where dictionaries stand."""


_DEFAULTS: Final = InterventionOptions()
_SPARSE: Final = 8
"""Latents of which fewer than one in so many is not 0 are written one by one."""


@dataclass(frozen=True)
class FeatureChange:
    """What happens to one feature.

    Attributes:
        node: Which one.
        kind: `set`: it becomes the value; `scale`: it is multiplied by it; `add`: it rises by it.
        value: In the dictionary's units, except of `scale`.
    """

    node: FeatureNode
    kind: Literal["set", "scale", "add"]
    value: float

    def of(self, current: Float[Tensor, "*row"]) -> Float[Tensor, "*row"]:
        """The value to go on with."""
        if self.kind == "set":
            return torch.full_like(current, self.value)
        return current * self.value if self.kind == "scale" else current + self.value

    def __str__(self) -> str:
        return f"{self.kind} {self.node} {self.value:g}"


def silenced(node: FeatureNode) -> FeatureChange:
    """The feature writes nothing."""
    return FeatureChange(node, "set", 0.0)


def replaced(frozen: Frozen, node: FeatureNode, baseline: Baseline) -> FeatureChange:
    """The feature gets its value of a baseline: its mean, or what it is on another prompt.

    Raises:
        DataError: There is no such feature, or the baseline does not know it.
    """
    n_latents = node.on(frozen).dictionary.config.n_latents
    values = baseline.latents(node.site, frozen.n_positions)
    wide = values.expand(frozen.n_positions, n_latents)
    return FeatureChange(node, "set", float(wide[position_of(frozen, node.position), node.latent]))


@dataclass(frozen=True)
class Intervention:
    """What changing features did to a target.

    Attributes:
        target: For people.
        changes: What was done.
        before, after: The target in the model, with what was held and with the errors that were asked for.
        predicted: By how much it changes in the linear model.
    """

    target: str
    changes: tuple[FeatureChange, ...]
    before: float
    after: float
    predicted: float

    @property
    def change(self) -> float:
        """By how much the target changed in the model."""
        return self.after - self.before

    @property
    def same_sign(self) -> bool:
        """Whether the model moved the way that the linear model said."""
        return self.change * self.predicted > 0

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "target": self.target,
            "changes": [
                {"node": str(one.node), "kind": one.kind, "value": one.value}
                for one in self.changes
            ],
            "before": self.before,
            "after": self.after,
            "change": self.change,
            "predicted": self.predicted,
            "same_sign": self.same_sign,
        }


def intervene(
    frozen: Frozen,
    target: Target,
    changes: Sequence[FeatureChange],
    options: InterventionOptions = _DEFAULTS,
) -> Intervention:
    """Change features and see what becomes of a target, through all that lies between.

    Args:
        frozen: The run.
        target: What is read.
        changes: What happens to which features, each once.
        options: What is held, and what becomes of errors.

    Raises:
        DataError: A change cannot be made or has no effect, or the target cannot be read in the model.
    """
    start = target.start(frozen)
    placed = _placed(frozen, start, changes)
    rules = {site: _changing(placed[site], frozen) for site in placed}
    before, after = run_edited(frozen, target, rules, 2, options).tolist()
    predicted = _predict(frozen, start, placed, direct=False)
    return Intervention(start.name, tuple(changes), before, after, predicted)


def direct_effect(
    frozen: Frozen,
    target: Target,
    changes: Sequence[FeatureChange],
    held: Held = NOTHING_HELD,
) -> Intervention:
    """Change features and see what becomes of a target along edges only.

    All other features stay at what they were, and so do errors, so that the change reaches the target
    through no other feature. Doubling a feature changes the target by the edge between them; in the model
    with all held exactly.

    Raises:
        DataError: As `intervene`.
    """
    start = target.start(frozen)
    placed = _placed(frozen, start, changes)
    rules = dict[Site, LatentRule]()
    for site, features in active_below(frozen, start.stage).items():
        rules[site] = _changing(placed.get(site, ()), frozen, dense_latents(features))
    options = InterventionOptions(held=held, errors="frozen")
    before, after = run_edited(frozen, target, rules, 2, options).tolist()
    predicted = _predict(frozen, start, placed, direct=True)
    return Intervention(start.name, tuple(changes), before, after, predicted)


@torch.no_grad()
def run_edited(
    frozen: Frozen,
    target: Target,
    rules: Mapping[Site, LatentRule],
    n_rows: int,
    options: InterventionOptions = _DEFAULTS,
) -> Float[Tensor, "row"]:
    """A target in the model itself, in several rows whose features are changed each in its own way.

    Args:
        frozen: The run that parts are held at, and whose prompt stands in each row.
        target: What is read.
        rules: What happens to the latents of sites below the target.
        n_rows: Rows; each costs a pass over the prompt.
        options: What is held, and what becomes of errors.

    Raises:
        DataError: The target cannot be read in the model.
    """
    model = frozen.replacement.model
    reading, stage = reading_of(frozen, target), target.start(frozen).stage
    edits = _edits(frozen, stage, rules, options)
    batch = Batch(tokens=frozen.tokens[None].expand(n_rows, -1))
    with model.edit(edits.edits()):
        return reading(model.read(batch, [reading.site]))


@torch.no_grad()
def edited_logits(
    frozen: Frozen,
    rules: Mapping[Site, LatentRule],
    n_rows: int,
    options: InterventionOptions = _DEFAULTS,
) -> Float[Tensor, "row vocab"]:
    """All logits at the last position, in several rows whose features are changed each in its own way.

    Args:
        frozen: As of `run_edited`.
        rules: What happens to the latents of sites; one at least.
        n_rows: As of `run_edited`.
        options: As of `run_edited`.
    """
    model = frozen.replacement.model
    edits = _edits(frozen, len(frozen.stages), rules, options)
    batch = Batch(tokens=frozen.tokens[None].expand(n_rows, -1))
    with model.edit(edits.edits()):
        return model(batch).logits[:, -1]


def _edits(
    frozen: Frozen, stage: int, rules: Mapping[Site, LatentRule], options: InterventionOptions
) -> EditsInOrder:
    """What is held and changed below a stage."""
    edits = EditsInOrder()
    for place, branch in frozen.branches():
        if place >= stage:
            break
        hold(edits, frozen, branch, options.held)
        if branch.features is not None:
            _splice(edits, _Spliced(branch.features, rules.get(branch.site), options))
    if stage < len(frozen.stages):
        _hold_read(edits, frozen, stage, options.held)
    elif options.held.norms:
        hold_final(edits, frozen)
    return edits


def dense_latents(features: ActiveFeatures) -> Float[Tensor, "pos latent"]:
    """Activations of all latents of a site, 0 where they do not fire."""
    found = features.value.new_zeros(len(features.stands), features.dictionary.config.n_latents)
    found[features.position, features.latent] = features.value
    return found


def written_by(
    features: ActiveFeatures, latents: Float[Tensor, "*row pos latent"]
) -> Float[Tensor, "*row pos model"]:
    """What latents write, without the constant of the dictionary."""
    weights, flat = features.dictionary, latents.flatten(0, -2)
    row, latent = flat.nonzero(as_tuple=True)
    if len(row) * _SPARSE > flat.numel():
        return latents @ weights.W_dec / weights.scale_out
    first = keep_pairs(row, latent, len(flat)).first
    made = sum_rows(weights.W_dec, latent, first, flat[row, latent]) / weights.scale_out
    return made.view(*latents.shape[:-1], made.shape[-1])


def _hold_read(edits: EditsInOrder, frozen: Frozen, stage: int, held: Held) -> None:
    """Hold the layer that the target itself is read behind, such as the feature's own."""
    for branch in frozen.stages[stage]:
        hold(edits, frozen, branch, held)


def _splice(edits: EditsInOrder, spliced: "_Spliced") -> None:
    if spliced.rule is None and spliced.options.errors == "live":
        return  # nothing would change
    config = spliced.features.dictionary.config
    read, site = config.read_site, config.write_site
    if read == site:
        edits.add(site, lambda y, _at: spliced(y, y))
    else:
        seen = edits.look(read)
        edits.add(site, lambda y, _at: spliced(seen(), y))


class _Spliced:
    """One dictionary in the place of what stands at a site.

    Args:
        features: Of the clean run.
        rule: What happens to its latents; None for nothing.
        options: What is held, and what becomes of errors.
    """

    def __init__(
        self, features: ActiveFeatures, rule: LatentRule | None, options: InterventionOptions
    ) -> None:
        self.features, self.rule, self.options = features, rule, options

    def __call__(self, read: Tensor, written: Tensor) -> Tensor:
        features = self.features
        here = features.stands[:, None]
        wide = read.to(features.error)
        live = self._latents(wide) * here
        new = live if self.rule is None else self.rule(live) * here
        if self.options.errors == "live":
            return written + written_by(features, new - live).to(written)
        made = written_by(features, new) + features.decoder_bias
        if features.skip is not None:
            made = made + wide @ features.skip.T
        held = features.error if self.options.errors == "frozen" else self._outside
        return (made * here + held).to(written)

    @cached_property
    def _outside(self) -> Float[Tensor, "pos model"]:
        """Errors of positions where the dictionary does not stand."""
        return self.features.error * (1 - self.features.stands[:, None])

    @cached_property
    def _fires(self) -> Float[Tensor, "pos latent"]:
        return (dense_latents(self.features) != 0).to(self.features.value)

    def _latents(self, read: Tensor) -> Tensor:
        if self.options.held.active:
            return self.features.dictionary.pre_activations(read) * self._fires
        return self.features.dictionary.encode(read)


def _placed(
    frozen: Frozen, start: Start, changes: Sequence[FeatureChange]
) -> dict[Site, tuple[FeatureChange, ...]]:
    """Changes by site, checked."""
    if not changes:
        raise DataError("There is nothing to change: name at least one feature.")
    below = active_below(frozen, start.stage)
    found: dict[Site, tuple[FeatureChange, ...]] = {}
    seen = set[FeatureNode]()
    for change in changes:
        node = change.node
        features = node.on(frozen)
        node = node._replace(position=position_of(frozen, node.position))
        if node.site not in below:
            raise DataError(
                f"'{node}' lies not below the target ({start.name}), so changing it has no effect on it."
            )
        if node in seen:
            raise DataError(f"'{node}' is changed twice: give one change for it.")
        fires = (features.position == node.position) & (features.latent == node.latent)
        if change.kind == "scale" and not fires.any():
            raise DataError(f"'{node}' does not fire on this prompt, so scaling it has no effect.")
        seen.add(node)
        found[node.site] = (
            *found.get(node.site, ()),
            FeatureChange(node, change.kind, change.value),
        )
    return found


def _places(changes: Iterable[FeatureChange]) -> tuple[list[int], list[int]]:
    pairs = [(one.node.position, one.node.latent) for one in changes]
    return [p for p, _ in pairs], [latent for _, latent in pairs]


def _changing(
    changes: Sequence[FeatureChange], frozen: Frozen, clean: Tensor | None = None
) -> LatentRule:
    """Changes in the second row; with clean values all others stay at them, in both rows."""

    def rule(live: Tensor) -> Tensor:
        new = live.clone() if clean is None else clean.expand_as(live).clone()
        for change in changes:
            place = change.node.position, change.node.latent
            new[1, *place] = change.of(new[1, *place])
        return new

    return rule


def _predict(
    frozen: Frozen,
    start: Start,
    placed: Mapping[Site, Sequence[FeatureChange]],
    *,
    direct: bool,
) -> float:
    """By how much a target changes in the linear model."""
    changes, added = dict[Site, Change](), dict[Site, Tensor]()
    sites = active_below(frozen, start.stage) if direct else placed
    for site in sites:
        features = features_of(frozen, site)
        mine = placed.get(site, ())
        changes[site] = _linear_change(features, mine, direct=direct)
        if mine:
            silent = dense_latents(features) == 0
            values = silent.new_zeros(silent.shape, dtype=features.value.dtype)
            for change in mine:
                place = change.node.position, change.node.latent
                values[place] = change.of(values[place]) * silent[place]
            added[site] = written_by(features, values)
    after = run_linear(frozen, changes, added=added).value(start)
    return float(after - run_linear(frozen).value(start))


def _linear_change(
    features: ActiveFeatures, changes: Sequence[FeatureChange], *, direct: bool
) -> Change:
    found = list[tuple[Int[Tensor, "1"], FeatureChange]]()
    for one in changes:
        place = (features.position == one.node.position) & (features.latent == one.node.latent)
        found += [(index, one) for index in place.nonzero()]

    def change(pre: Tensor) -> Tensor:
        new = features.value.clone() if direct else pre.clone()
        for index, one in found:
            new[index] = one.of(new[index])
        return new

    return change
