"""Circuits: a model with its dictionaries made linear, kept in memory for the next question about a graph."""

import json
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lmscope.circuits.frozen import Frozen, freeze
from lmscope.circuits.graph import Graph
from lmscope.circuits.target_text import NamedTarget
from lmscope.core.errors import ArtifactError, DataError
from lmscope.jobs.trace import TraceRecipe, Tracing, trace
from lmscope.jobs.trace_dictionaries import NONE, find_parts
from lmscope.jobs.trace_prompts import Prompt, PromptChoice, read_prompts
from lmscope.runs.run import Run
from lmscope.server.live.benches import Benches

MAX_FROZEN: Final = 2
"""Runs of a prompt in memory; the one that was not asked for longest goes first."""
_SHARED: Final = ("model", "dictionaries", "replacement", "trace")
"""What a prompt that is traced like another takes from it."""
_CLOSE: Final = 1e-3
"""A target may differ by such a share of its size between two machines."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A graph with the run that it is of.

    Attributes:
        graph: The graph.
        frozen: The run of its prompt.
        target: What was traced.
    """

    graph: Graph
    frozen: Frozen
    target: NamedTarget


class Circuits:
    """Opens circuits and keeps one model with its dictionaries; another one takes its place.

    Args:
        benches: Of the same process: hears where it stands, and gives way where both would be too much.
    """

    def __init__(self, benches: Benches) -> None:
        self._benches = benches
        self._key: str | None = None
        self._tracing: Tracing | None = None
        self._frozen: OrderedDict[tuple[int, ...], Frozen] = OrderedDict()
        benches.make_room = self.make_room

    @property
    def n_bytes(self) -> int:
        """Of weights in memory."""
        if self._tracing is None:
            return 0
        replacement = self._tracing.replacement
        modules = (self._tracing.model.hf, *replacement.dictionaries.values())
        return sum(
            t.numel() * t.element_size() for one in modules for t in one.state_dict().values()
        )

    def make_room(self, most: int) -> None:
        """Give up what is in memory where that is more."""
        if self.n_bytes > most:
            self.forget()

    def forget(self) -> None:
        """Give up what is in memory."""
        self._key = self._tracing = self._benches.beside = None
        self._frozen.clear()

    def open(self, payload: Mapping[str, Any]) -> Opened:
        """A graph with its model, run on its prompt.

        Args:
            payload: `run` (the folder that traced it), `name`, `graph` (its file), and `folders` of its
                dictionaries for where those that were named then are not there any more.

        Raises:
            ArtifactError: Model or dictionaries are others than those of the graph.
            LmscopeError: Something cannot be found or read.
        """
        graph = Graph.load(payload["graph"])
        recipe = recipe_of(Path(payload["run"]), payload["folders"])
        tracing = self.tracing(recipe)
        _check_same(tracing, graph)
        prompt = _prompt_of(recipe, payload["name"], graph)
        (target,) = tracing.targets([prompt])
        self._benches.report("busy", "Running the prompt")
        frozen = self._run(tracing, graph.meta.tokens)
        value = target.start(frozen).value
        if abs(value - graph.meta.value) > _CLOSE * max(1.0, abs(graph.meta.value)):
            raise ArtifactError(
                f"The target is {value:.5g} here and {graph.meta.value:.5g} in the graph, so it was traced with other "
                "parts or another version: trace the prompt again."
            )
        return Opened(graph, frozen, target)

    def tracing(self, recipe: TraceRecipe) -> Tracing:
        """The model and dictionaries of a recipe; those before give way.

        Raises:
            LmscopeError: They cannot be found or loaded.
        """
        key = _key_of(recipe)
        if self._tracing is None or self._key != key:
            self.forget()
            self._benches.give_way()
            parts = find_parts(recipe.dictionaries, recipe.model)
            self._tracing = Tracing.open(recipe, parts, self._benches)
            self._key, self._benches.beside = key, self._tracing.model.name
        return self._tracing

    def trace(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Trace a prompt as a run of its own.

        Args:
            payload: `root`, `prompt`, `target` and `threshold` (or null), and where the parts come from:
                `like` (the folder of another trace), `dictionaries` (of a run that trained some, or `none`), or
                nothing; `only` names some of them, and `model` (which may be absent) the model.

        Raises:
            LmscopeError: As of `jobs.trace.trace`.
        """
        began = time.perf_counter()
        recipe = _asked(payload)
        (prompt,) = read_prompts(recipe.prompts)
        tracing = self.tracing(recipe)
        self._benches.report("busy", "Tracing")
        run = trace(recipe, root=payload["root"], opened=tracing)
        return {
            "run": str(run.path),
            "run_name": run.path.name,
            "name": prompt.name,
            "elapsed_s": time.perf_counter() - began,
        }

    def _run(self, tracing: Tracing, tokens: Sequence[int]) -> Frozen:
        key = tuple(tokens)
        found = self._frozen.pop(key, None)
        if found is None:
            found = freeze(tracing.replacement, list(key))
        self._frozen[key] = found
        while len(self._frozen) > MAX_FROZEN:
            self._frozen.popitem(last=False)
        return found


def recipe_of(run: Path, folders: Sequence[str]) -> TraceRecipe:
    """What a trace was asked, with its dictionaries where they lie now.

    Args:
        run: Its folder.
        folders: Of all of its dictionaries; empty where that is not known.

    Raises:
        LmscopeError: The run cannot be read, or is no trace.
    """
    recipe = TraceRecipe.from_mapping(Run.open(run).recipe_values, f"'{run}'")
    sources = recipe.dictionaries.sources
    if not folders or all(_is_there(one) for one in sources):
        return recipe
    chosen = recipe.dictionaries.model_copy(update={"sources": tuple(folders), "only": ()})
    return recipe.model_copy(update={"dictionaries": chosen})


def _is_there(source: str) -> bool:
    # A name without folders is that of something that comes with lmscope.
    return source == NONE or source.startswith("hf:") or "/" not in source or Path(source).exists()


def _key_of(recipe: TraceRecipe) -> str:
    """Equal for recipes that mean the same parts, until their folders change."""
    parts = {
        "model": recipe.model.to_mapping(),
        "dictionaries": recipe.dictionaries.to_mapping(),
        "replacement": recipe.replacement.to_mapping(),
        "changed": [_changed(Path(one)) for one in recipe.dictionaries.sources],
    }
    return json.dumps(parts, sort_keys=True)


def _changed(path: Path) -> int:
    inner = path / "artifacts" / "dictionaries"
    try:
        return (inner if inner.is_dir() else path).stat().st_mtime_ns
    except OSError:
        return 0


def _check_same(tracing: Tracing, graph: Graph) -> None:
    meta = graph.meta
    if tracing.model.weights_hash != meta.weights_hash:
        raise ArtifactError(
            f"'{meta.model}' has other weights here (hash {tracing.model.weights_hash[:12]}) than the graph was traced "
            f"on (hash {meta.weights_hash[:12]}): trace the prompt again."
        )
    names = {str(site): digest for site, (_, digest) in tracing.parts.names().items()}
    if names.keys() != {one.site for one in meta.dictionaries}:
        raise ArtifactError(
            "The graph was traced with other dictionaries than are here: trace the prompt again."
        )
    for one in meta.dictionaries:
        if one.content_digest and names[one.site] and one.content_digest != names[one.site]:
            raise ArtifactError(
                f"The dictionary at '{one.site}' is another one than the graph was traced with: trace the prompt again."
            )


def _prompt_of(recipe: TraceRecipe, name: str, graph: Graph) -> Prompt:
    """The prompt with its target as it was written; of a file that went, as the graph tells it."""
    try:
        prompts = read_prompts(recipe.prompts)
    except DataError:
        prompts = ()
    for one in prompts:
        if one.name == name and one.text == graph.meta.prompt:
            return one
    return Prompt(name=name, text=graph.meta.prompt, target=_target_text(graph))


def _target_text(graph: Graph) -> str:
    node, name = graph.nodes[0], graph.meta.target
    if node.token is not None:
        less = "" if node.against is None else f" - token:{node.against}"
        less = " - mean" if " - mean logit" in name else less
        return f"token:{node.token}{less} @{node.position}"
    if node.latent is not None:
        return f"{node.site}/{node.latent}@{node.position}"
    raise DataError(
        f"The file of prompts is gone and '{name}' cannot be read from the graph alone: trace it again."
    )


def _asked(payload: Mapping[str, Any]) -> TraceRecipe:
    changes: dict[str, Any] = {
        "prompts": PromptChoice(texts=(payload["prompt"],), target=payload["target"])
    }
    if payload["like"] is None:
        sources = () if payload["dictionaries"] is None else (payload["dictionaries"],)
        values: dict[str, Any] = {"dictionaries": {"sources": list(sources)}}
        if payload.get("model") is not None:
            values["model"] = {"name": payload["model"]}
        recipe = TraceRecipe.from_mapping(values, "the request")
    else:
        before = recipe_of(Path(payload["like"]), ()).to_mapping()
        recipe = TraceRecipe.from_mapping({key: before[key] for key in _SHARED}, "the request")
    if payload["only"]:
        only = {"only": tuple(payload["only"])}
        changes["dictionaries"] = recipe.dictionaries.model_copy(update=only)
    if payload["threshold"] is not None:
        options = recipe.trace.model_copy(
            update={"threshold": payload["threshold"], "relative": True}
        )
        changes["trace"] = options
    return recipe.model_copy(update=changes)
