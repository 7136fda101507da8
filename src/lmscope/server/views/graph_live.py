"""What the process with the model is told of a graph, and the scores that it takes apart."""

import asyncio
from collections.abc import Mapping
from typing import Any

from lmscope.server.context import Context
from lmscope.server.failures import ReadOnly, WrongInput
from lmscope.server.library.graph_columns import GraphColumns
from lmscope.server.library.graphs import GraphEntry
from lmscope.server.schemas.graph_live import (
    ScorePair,
    ScorePanel,
    ScoreRequest,
    ScoreSide,
    TraceAnswer,
    TraceRequest,
)
from lmscope.server.views.graph import found_graph
from lmscope.server.views.graph_labels import labels_of, served_dictionaries
from lmscope.server.work.order import first_folder


def graph_payload(context: Context, entry: GraphEntry, found: GraphColumns) -> dict[str, Any]:
    """A graph as the process with the model finds it."""
    served = served_dictionaries(context.library, found)
    folders = [str(one.folder) for one in served.values() if one.folder is not None]
    is_whole = len(folders) == len(found.graph.meta.dictionaries)
    return {
        "run": str(entry.run.path),
        "name": entry.name,
        "graph": str(entry.path),
        "folders": folders if is_whole else [],
    }


async def scores(context: Context, run: str, name: str, request: ScoreRequest) -> ScorePanel:
    """An attention score as a sum over pairs.

    Raises:
        NotFound: There is no such graph.
        WrongInput: A position lies beyond the prompt.
        LmscopeError: The process with the model says why not.
    """
    entry, found = await asyncio.to_thread(found_graph, context, run, name)
    n_tokens = len(found.graph.meta.tokens)
    asked = {"query": request.query, "key": request.key, "against": request.against}
    for what, place in asked.items():
        if isinstance(place, int) and place >= n_tokens:
            raise WrongInput(
                f"There is no position {place} for `{what}`. The prompt has {n_tokens} tokens, from 0."
            )
    payload = {**graph_payload(context, entry, found), **request.model_dump()}
    answer = await context.live.ask("scores", payload)
    return await asyncio.to_thread(_panel, context, entry, found, request, answer)


async def trace(context: Context, request: TraceRequest) -> TraceAnswer:
    """Trace a prompt; its run lies below the first served folder.

    Raises:
        ReadOnly: This server changes nothing.
        NotFound: The run of the dictionaries is not served.
        WrongInput: It holds no dictionaries, or there is no folder for runs.
        LmscopeError: The process with the model says why not.
    """
    root = folder_of_traces(context)
    payload: dict[str, Any] = {
        "root": root,
        "like": None,
        "dictionaries": None,
        "only": request.only or [],
        "prompt": request.prompt,
        "target": request.target,
        "threshold": request.threshold,
    }
    if request.dictionaries is not None:
        run = context.library.run(request.dictionaries)
        if run.record.job == "trace":
            payload["like"] = str(run.path)
        elif run.dictionaries:
            payload["dictionaries"] = str(run.path)
        else:
            raise WrongInput(
                f"The run '{run.id}' has no dictionaries. Choose one that trained some, or that traced with some."
            )
    return await traced(context, payload)


def folder_of_traces(context: Context) -> str:
    """Where runs that trace are put.

    Raises:
        ReadOnly: This server changes nothing.
        WrongInput: There is no folder for runs.
    """
    if context.settings.read_only:
        raise ReadOnly(
            "This server changes nothing, so nothing is traced. Start it without --read-only."
        )
    return str(first_folder(context.library))


async def traced(context: Context, payload: Mapping[str, Any]) -> TraceAnswer:
    """The graph that the process with the model makes, once the library has seen it.

    Raises:
        LmscopeError: The process says why not.
    """
    answer = await context.live.ask("trace", payload)
    await asyncio.to_thread(context.library.refresh)
    id_ = next(
        (one.id for one in context.library.runs() if str(one.path) == answer["run"]),
        answer["run_name"],
    )
    return TraceAnswer(run=id_, name=answer["name"], elapsed_s=answer["elapsed_s"])


def _panel(
    context: Context,
    entry: GraphEntry,
    found: GraphColumns,
    request: ScoreRequest,
    answer: Mapping[str, Any],
) -> ScorePanel:
    labels = labels_of(context, entry, found)
    served = served_dictionaries(context.library, found)

    def side(one: Mapping[str, Any]) -> ScoreSide:
        place = found.places.get(one["id"])
        dictionary = served.get(one["site"] or "") if one["kind"] == "feature" else None
        return ScoreSide(
            **one,
            place=place,
            label=None if place is None else labels.label[place],
            label_known=place is not None and bool(labels.known[place]),
            dictionary=None if dictionary is None else dictionary.id,
        )

    rest = {key: answer[key] for key in answer if key not in ("queries", "keys", "pairs")}
    return ScorePanel(
        layer=request.layer,
        head=request.head,
        query=request.query,
        key=request.key,
        against=request.against,
        queries=[side(one) for one in answer["queries"]],
        keys=[side(one) for one in answer["keys"]],
        pairs=[ScorePair(**one) for one in answer["pairs"]],
        **rest,
    )
