"""What a training would do, on this machine or on others: sizes, memory, work, time and disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from lmscope.activations.memory import BYTES
from lmscope.activations.stream import ActivationStream
from lmscope.core.errors import RecipeError
from lmscope.core.mesh import SINGLE, Mesh
from lmscope.dictionaries.config import DictionaryConfig
from lmscope.jobs.choices import open_text
from lmscope.jobs.dictionary_choice import Wanted, wanted_dictionaries
from lmscope.jobs.grouping import DictionaryGroup, depth, plan_groups
from lmscope.jobs.memory import (
    FLOAT,
    GIB,
    Memory,
    MemoryModel,
    Text,
    available_bytes,
    held_parameters,
    in_gib,
    n_parameters,
    sites_of,
)
from lmscope.jobs.mesh_choice import choose_mesh
from lmscope.jobs.running import Plan, PlanRow, PlanValue
from lmscope.jobs.train import TrainRecipe, steps_for
from lmscope.jobs.work import EFFICIENCY, Rate, Work, group_work, rate_of
from lmscope.models.language_model import LanguageModel
from lmscope.models.loading import find_device
from lmscope.models.skeleton import at_hand, skeleton
from lmscope.training.loop import planned_steps

_SHOWN = 12
"""Dictionaries that are listed one by one; of more, the kinds are."""


@dataclass(frozen=True)
class Machine:
    """On what a plan is to be carried out; all absent: this machine, alone.

    Attributes:
        memory_bytes: Of one device.
        devices: How many.
        device_tflops: Rate of one, in 10^12 floating-point operations a second.
        mesh: How they share the work, e.g. `data=8,latent=2,site=4`.
    """

    memory_bytes: int | None = None
    devices: int | None = None
    device_tflops: float | None = None
    mesh: str | None = None


@dataclass(frozen=True)
class TextPlan:
    """How much text there is.

    Attributes:
        n_contexts, n_tokens: Distinct ones to train on.
        n_steps: Steps that they give, or that are asked for.
        n_held_out_tokens: To measure on.
        exact: Whether the text was counted; otherwise the recipe's own figures stand.
    """

    n_contexts: int
    n_tokens: int
    n_steps: int | None
    n_held_out_tokens: int
    exact: bool


@dataclass(frozen=True)
class _Part:
    """One group, and what it takes."""

    group: DictionaryGroup
    configs: list[DictionaryConfig]
    n_steps: int
    memory: Memory
    work: Work


def plan_training(recipe: TrainRecipe, machine: Machine | None = None) -> Plan:
    """What `train` would do; writes nothing, fetches nothing, loads no weights.

    The text is counted where it and the model's tokenizer lie on this machine; otherwise the
    recipe's own figures stand (`dictionary.tokens`, `training.steps` or `text.max_tokens`).

    Args:
        recipe: What would be done.
        machine: On what; absent: on this machine.

    Raises:
        LmscopeError: Whatever `train` would refuse before it starts, as far as a plan can tell.
    """
    machine = Machine() if machine is None else machine
    dtype = None if recipe.model.dtype == "auto" else recipe.model.dtype
    model = skeleton(recipe.model.name, dtype=dtype)
    wanted = wanted_dictionaries(recipe.dictionary, model)
    mesh = _mesh(recipe, machine, wanted)
    text = _text_plan(recipe, model, wanted)
    device = find_device(recipe.model.device) if machine.devices is None else None
    available = machine.memory_bytes or available_bytes(find_device(recipe.model.device))
    parts, change = _parts(recipe, model, wanted, text, mesh, available)
    rate = rate_of(machine.device_tflops, device, model.dtype)
    values: dict[str, PlanValue] = {
        **_what(recipe, model, wanted, text),
        **_how_long(recipe, parts, rate, mesh),
        **_fits(parts, available, change),
        **_disk(recipe, model, text, parts),
    }
    tables: dict[str, tuple[PlanRow, ...]] = {
        "shapes": tuple(_shapes(wanted)),
        "groups": tuple(_group_row(part, rate, mesh) for part in parts),
        "memory": tuple(_memory_rows(parts)),
    }
    names = tuple(_dictionary_row(name, one, parts) for name, one in wanted.items())
    shown = ("dictionaries", "groups", "memory")
    shown = shown if len(wanted) <= _SHOWN else ("shapes", *shown[1:])
    return Plan(values, {**tables, "dictionaries": names}, shown)


def _mesh(recipe: TrainRecipe, machine: Machine, wanted: Mapping[str, Wanted]) -> Mesh:
    """The mesh, if text and latents can be shared by it."""
    mesh = choose_mesh(machine.devices or 1, machine.mesh, len(wanted))
    mesh.owned_streams(recipe.stream.n_streams)
    for one in wanted.values():
        mesh.rows(one.config.n_latents)
    return mesh


def _text_plan(recipe: TrainRecipe, model: LanguageModel, wanted: Mapping[str, Wanted]) -> TextPlan:
    is_here = at_hand(recipe.model.name) is not None
    if is_here and not recipe.text.source.startswith("hf:"):
        return _counted(recipe, model, wanted)
    length, steps = recipe.text.context_length, recipe.training.steps
    batch = recipe.stream.batch_tokens * recipe.training.accumulate
    longest = max(recipe.dictionary.tokens or (0,)) or (steps or 0) * batch
    n_tokens = recipe.text.max_tokens or -(-longest // recipe.stream.passes)
    if not n_tokens:
        raise RecipeError(
            f"The text '{recipe.text.source}' is not counted for a plan (it or the model is not on this "
            "machine): give text.max_tokens, training.steps or dictionary.tokens."
        )
    counted = n_tokens * (length - 1) // length  # the first token of a context does not count
    steps = steps or counted * recipe.stream.passes // batch
    n_held_out = recipe.evaluation.tokens
    return TextPlan(max(1, n_tokens // length), n_tokens, steps, n_held_out, exact=False)


def _counted(recipe: TrainRecipe, model: LanguageModel, wanted: Mapping[str, Wanted]) -> TextPlan:
    measured = recipe.evaluation.tokens
    text = open_text(recipe.text, model, seed=recipe.seed, held_out_tokens=measured)
    options = recipe.stream.model_copy(update={"store": "none"})
    sites = sites_of([one.config for one in wanted.values()])
    stream = ActivationStream(model, text.train, sites, options=options, seed=recipe.seed)
    steps = planned_steps(stream, recipe.training)
    n_held_out = text.held_out.n_tokens if measured else 0
    return TextPlan(len(text.train), text.train.n_tokens, steps, n_held_out, exact=True)


def _parts(
    recipe: TrainRecipe,
    model: LanguageModel,
    wanted: Mapping[str, Wanted],
    text: TextPlan,
    mesh: Mesh,
    available: int,
) -> tuple[list[_Part], str | None]:
    """The groups, and what to change when some dictionary does not fit even alone."""
    size = Text(text.n_contexts, recipe.text.context_length)
    needs = MemoryModel(model, size, recipe.stream, recipe.evaluation, mesh)
    change = None
    try:
        groups = plan_groups(wanted, needs.of, available)
    except RecipeError as error:
        change = str(error)
        least = max(needs.of([one.config]).peak for one in wanted.values())
        groups = plan_groups(wanted, needs.of, least)
    parts = []
    for group in groups:
        configs = [wanted[name].config for name in group.names]
        budget = wanted[group.names[0]].n_tokens
        n_steps = (text.n_steps or 0) if budget is None else steps_for(recipe, budget)
        n_tokens = n_steps * recipe.stream.batch_tokens * recipe.training.accumulate
        kept = recipe.stream.store != "none"
        work = group_work(
            model,
            configs,
            n_tokens=n_tokens,
            n_read_tokens=min(n_tokens, text.n_tokens) if kept else n_tokens,
            context_length=recipe.text.context_length,
            evaluation=recipe.evaluation,
            mesh=mesh,
        )
        parts.append(_Part(group, configs, n_steps, needs.of(configs), work))
    return parts, change


def _what(
    recipe: TrainRecipe, model: LanguageModel, wanted: Mapping[str, Wanted], text: TextPlan
) -> dict[str, PlanValue]:
    configs = [one.config for one in wanted.values()]
    return {
        "model": model.name,
        "dtype": str(model.dtype).removeprefix("torch."),
        "n_sites": len(sites_of(configs)),
        "n_dictionaries": len(configs),
        "n_parameters": sum(map(n_parameters, configs)),
        "text": recipe.text.source,
        "text_is_counted": text.exact,
        "n_contexts": text.n_contexts,
        "n_tokens": text.n_tokens,
        "passes": recipe.stream.passes,
        "n_held_out_tokens": text.n_held_out_tokens,
    }


def _how_long(
    recipe: TrainRecipe, parts: Sequence[_Part], rate: Rate, mesh: Mesh
) -> dict[str, PlanValue]:
    per_step = recipe.stream.batch_tokens * recipe.training.accumulate
    work = [part.work for part in parts]
    return {
        "n_groups": len(parts),
        "tokens_per_step": per_step,
        "n_steps": sum(part.n_steps for part in parts),
        "trained_tokens": sum(part.n_steps for part in parts) * per_step,
        "forward_pflop": _rounded(sum(one.forward for one in work) / 1e15),
        "dictionary_pflop": _rounded(sum(one.dictionaries for one in work) / 1e15),
        "evaluation_pflop": _rounded(sum(one.evaluation for one in work) / 1e15),
        "devices": mesh.size,
        "mesh": f"data={mesh.data},latent={mesh.latent},site={mesh.site}",
        "device_tflops": _rounded(rate.model / 1e12),
        "device_tflops_float32": _rounded(rate.dictionary / 1e12),
        "device_tflops_are": rate.source,
        "assumed_efficiency": EFFICIENCY,
        "expected_hours": _rounded(sum(one.hours(rate, mesh.size) for one in work)),
    }


def _fits(parts: Sequence[_Part], available: int, change: str | None) -> dict[str, PlanValue]:
    values: dict[str, PlanValue] = {
        "device_memory_gib": round(available / GIB, 2),
        "needed_memory_gib": round(max(part.memory.peak for part in parts) / GIB, 2),
        "fits": change is None,
    }
    return values if change is None else {**values, "what_to_change": change}


def _disk(
    recipe: TrainRecipe, model: LanguageModel, text: TextPlan, parts: Sequence[_Part]
) -> dict[str, PlanValue]:
    """Weights of all dictionaries, and weights and moments of one group in each kept checkpoint.

    One checkpoint more stands on the disk while it is written.
    """
    sums = [held_parameters(part.configs, SINGLE) for part in parts]
    n_checkpoints = recipe.training.checkpoint.keep + 1
    stored = 0
    if recipe.stream.store == "disk":
        dtype = recipe.stream.block_dtype
        size = model.dtype.itemsize if dtype == "model" else BYTES[dtype]
        widths = [sum(map(model.width, sites_of(part.configs))) for part in parts]
        stored = max(widths) * text.n_tokens * size
    return {
        "disk_dictionaries_gib": round(sum(sums) * FLOAT / GIB, 2),
        "disk_checkpoints_gib": round(n_checkpoints * 3 * max(sums) * FLOAT / GIB, 2),
        "disk_activations_gib": round(stored / GIB, 2),
    }


def _shapes(wanted: Mapping[str, Wanted]) -> list[PlanRow]:
    """One row for dictionaries that differ by layer only."""

    def kind(one: Wanted) -> tuple[Any, ...]:
        c = one.config
        parts = (c.read_site.part, c.write_site.part)
        return (*parts, c.d_read, c.d_write, c.n_latents, one.n_tokens or 0, str(c.sparsity))

    rows: list[PlanRow] = []
    for key, same in groupby(sorted(wanted.values(), key=kind), key=kind):
        members = list(same)
        layers = sorted({one.config.write_site.layer or 0 for one in members})
        rows.append(
            {
                "reads": key[0],
                "writes": key[1],
                "layers": _spans(layers),
                "n_dictionaries": len(members),
                "d_read": key[2],
                "d_write": key[3],
                "n_latents": key[4],
                "sparsity": members[0].config.sparsity.kind,
                "k": getattr(members[0].config.sparsity, "k", None),
                "tokens": members[0].n_tokens,
                "parameters_each": n_parameters(members[0].config),
            }
        )
    return rows


def _spans(layers: Sequence[int]) -> str:
    """`0-3, 7`."""
    spans: list[list[int]] = []
    for layer in layers:
        if spans and layer == spans[-1][1] + 1:
            spans[-1][1] = layer
        else:
            spans.append([layer, layer])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _group_row(part: _Part, rate: Rate, mesh: Mesh) -> PlanRow:
    deepest = max(part.configs, key=lambda c: depth(Wanted(c, None)))
    return {
        "group": part.group.number,
        "n_dictionaries": len(part.configs),
        "n_sites": len(sites_of(part.configs)),
        "deepest": str(max(deepest.read_site, deepest.write_site)),
        "steps": part.n_steps,
        "memory_gib": round(part.memory.peak / GIB, 2),
        "pflop": _rounded(part.work.total / 1e15),
        "hours": _rounded(part.work.hours(rate, mesh.size)),
    }


def _memory_rows(parts: Sequence[_Part]) -> list[PlanRow]:
    """One row for each thing, of the group that takes most."""
    memory = max((part.memory for part in parts), key=lambda one: one.peak)
    sizes = {**memory.to_mapping(), "peak": memory.peak}
    return [
        {"of_one_device": name, "gib": gib, "bytes": sizes[name]}
        for name, gib in in_gib(sizes).items()
    ]


def _dictionary_row(name: str, one: Wanted, parts: Sequence[_Part]) -> PlanRow:
    part = next(part for part in parts if name in part.group.names)
    return {
        "name": name,
        "d_read": one.config.d_read,
        "d_write": one.config.d_write,
        "n_latents": one.config.n_latents,
        "parameters": n_parameters(one.config),
        "group": part.group.number,
    }


def _rounded(value: float) -> float:
    """Three digits."""
    return float(f"{value:.3g}")
