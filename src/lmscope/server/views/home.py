"""The first page: models, suites, dictionaries and runs."""

from lmscope import __version__
from lmscope.core.shipped import shown
from lmscope.server.library.entries import RunEntry
from lmscope.server.library.library import Library
from lmscope.server.schemas.home import Home, ModelLine, RunLine, SuiteLine
from lmscope.server.views.lines import dictionary_line


def home(library: Library, *, read_only: bool) -> Home:
    """What lies under the served folders.

    Args:
        library: The folders.
        read_only: Whether notes and jobs are refused.
    """
    runs = library.runs()[::-1]
    return Home(
        version=__version__,
        folders=[shown(folder) for folder in library.folders],
        read_only=read_only,
        models=[
            ModelLine(
                id=one.id,
                name=one.name,
                weights_hash=one.weights_hash,
                n_dictionaries=len(one.dictionaries),
                n_runs=len(one.runs),
            )
            for one in library.models()
        ],
        suites=[suite_line(one) for one in runs if is_suite(one)],
        dictionaries=[dictionary_line(one) for one in library.dictionaries()],
        runs=[run_line(one) for one in runs],
        problems=list(library.problems()),
    )


def is_suite(run: RunEntry) -> bool:
    """Whether it trained several dictionaries, or trains them."""
    return len(run.suite) > 1 or len(run.dictionaries) > 1


def run_line(run: RunEntry) -> RunLine:
    """A run in a line."""
    status = run.status
    return RunLine(
        id=run.id,
        job=run.record.job,
        name=run.record.name,
        status=status,
        created=run.record.created.isoformat(),
        elapsed_s=run.elapsed_s,
        n_dictionaries=max(len(run.suite), len(run.dictionaries)),
        error=run.record.error,
    )


def suite_line(run: RunEntry) -> SuiteLine:
    """A run that trained several dictionaries, in a line."""
    return SuiteLine(
        run=run.id,
        name=run.record.name,
        model=next(iter(run.record.weights), None),
        n_dictionaries=max(len(run.suite), len(run.dictionaries)),
        n_measured=sum(row.status == "measured" for row in run.suite),
        status=run.status,
    )
