"""`lmscope doctor`: what this installation has, lacks, and how to mend it."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from lmscope import __version__
from lmscope.cli import console
from lmscope.cli.failures import DONE, FAILED
from lmscope.cli.numbers import format_bytes
from lmscope.cli.options import Switch
from lmscope.cli.requirements import Requirement, requirements
from lmscope.core.errors import LmscopeError, RecipeError

_EXAMPLES: Final = """Example:

    lmscope doctor
    lmscope doctor --verify
    lmscope doctor --json
    lmscope doctor last rivers.atlas

A RUN with atlases (a path, a folder name, a beginning of one, or `last`), the
folder of one atlas or a packed .atlas file is checked byte by byte, with the
corpus, labels and notes that belong to it.
"""
_EXTRAS: Final = {
    "gguf": "reading GGUF models, smollm2-135m-instruct-q4 and gemma3-270m-q4 among them",
    "plots": "pictures of a run",
    "track": "following runs in wandb or trackio",
}
_LITTLE_DISK: Final = 2 << 30

app = App(name="doctor", help_epilogue=_EXAMPLES, help_format="plaintext")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        status: `broken`: lmscope cannot work before it is mended; `note`: it can.
        found: What is there.
        advice: What to do; empty where nothing is.
    """

    name: str
    status: Literal["ok", "note", "broken"]
    found: str
    advice: str = ""


@app.default
def doctor(
    *atlases: Annotated[str, Parameter(show_default=False)],
    verify: Switch = False,
    json: Switch = False,
    runs_dir: Path = Path("runs"),
) -> int:
    """Check this installation, or atlases, and say what is missing.

    Ends with 1 if something is broken that lmscope cannot work without.

    Args:
        atlases: Runs with atlases, folders of atlases or packed ones; absent: the installation.
        verify: Read every cached model and check its hash.
        json: Print one JSON object to stdout.
        runs_dir: Folder of all runs, whose disk is looked at.
    """
    if atlases and verify:
        raise RecipeError(
            "--verify is for cached models, and atlases are always verified: leave it out."
        )
    if atlases:
        checks = [check for atlas in atlases for check in _atlas(atlas, runs_dir)]
    else:
        checks = [*_python(), *_packages(), *_machine(), *_disk(runs_dir), *_models(verify)]
    broken = [check for check in checks if check.status == "broken"]
    if json:
        console.print_json({"healthy": not broken, "checks": [asdict(check) for check in checks]})
    else:
        _show(checks)
        console.say(_verdict(len(broken)))
    return FAILED if broken else DONE


def _show(checks: list[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        advice = f"  -> {check.advice}" if check.advice else ""
        line = f"{check.status:<6}  {check.name:<{width}}  {check.found}{advice}"
        console.print_line(line)


def _verdict(n_broken: int) -> str:
    if not n_broken:
        return "Nothing is broken."
    things = "One thing is" if n_broken == 1 else f"{n_broken} things are"
    return f"{things} broken: see what to do above."


def _python() -> Iterator[Check]:
    yield Check("lmscope", "ok", __version__)
    version, fits = platform.python_version(), sys.version_info >= (3, 11)
    advice = "" if fits else "install Python 3.11 or newer"
    yield Check("Python", "ok" if fits else "broken", version, advice)


def _packages() -> Iterator[Check]:
    try:
        asked = requirements()
    except metadata.PackageNotFoundError:
        yield Check(
            "packages",
            "note",
            "lmscope runs from its source and is not installed, so its needs are unknown",
            "pip install -e . in its folder",
        )
        return
    for needed in asked:
        if needed.extra is None:
            yield _needed(needed)
    for extra, purpose in _EXTRAS.items():
        yield _extra(extra, purpose, [one for one in asked if one.extra == extra])


def _needed(package: Requirement) -> Check:
    if package.fits:
        return Check(package.name, "ok", f"{package.found} (asked for: {package.bounds})")
    found = f"{package.found} (asked for: {package.bounds})" if package.found else "missing"
    return Check(package.name, "broken", found, package.pip)


def _extra(extra: str, purpose: str, packages: list[Requirement]) -> Check:
    found = ", ".join(f"{one.name} {one.found or 'missing'}" for one in packages)
    # Any tracker will do, while the parts of other extras work only together.
    enough = any if extra == "track" else all
    if enough(one.fits for one in packages):
        return Check(f"extra {extra}", "ok", f"{found}; for {purpose}")
    return Check(
        f"extra {extra}",
        "note",
        f"{found}; needed for {purpose}",
        f"pip install 'lmscope[{extra}]'",
    )


def _machine() -> Iterator[Check]:
    memory = _memory_bytes()
    yield Check("memory", "ok", format_bytes(memory) if memory else "unknown")
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check("device", "broken", f"torch cannot be imported: {error}", "install torch anew")
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("threads", "ok", f"{torch.get_num_threads()} used by torch, {cores} processors")
    for index in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(index)
        total = torch.cuda.get_device_properties(index).total_memory
        yield Check(f"device cuda:{index}", "ok", f"{name}, {format_bytes(total)}")
    if not torch.cuda.is_available():
        yield Check("device", "ok", "cpu (no GPU is seen)")


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _disk(runs_dir: Path) -> Iterator[Check]:
    place = runs_dir.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{format_bytes(free)} free for '{runs_dir}'"
    if not os.access(place, os.W_OK):
        yield Check("runs", "broken", f"'{place}' cannot be written", "give another --runs-dir")
    elif free < _LITTLE_DISK:
        yield Check("runs", "note", found, "free some space before long runs")
    else:
        yield Check("runs", "ok", found)


def _atlas(atlas: str, runs_dir: Path) -> Iterator[Check]:
    from lmscope.atlas.integrity import check_atlases
    from lmscope.cli.run_names import find_run

    path = Path(atlas)
    if not path.exists():
        path = find_run(atlas, runs_dir, holding="artifacts/atlas")
    for one in check_atlases(path):
        yield Check(one.name, "broken" if one.broken else "ok", one.found, one.advice)


def _models(verify: bool) -> Iterator[Check]:
    try:
        from lmscope.models import registry, store
        from lmscope.models.catalog import CATALOG
    except (ImportError, OSError) as error:
        yield Check("models", "broken", f"cannot be imported: {error}", "mend the packages above")
        return
    yield Check("families", "ok", ", ".join(registry.known_families()))
    yield Check("cache", "ok", str(store.cache_root()))
    for name in CATALOG:
        if store.is_stored(name):
            yield _model(store, name, verify)


def _model(store: Any, name: str, verify: bool) -> Check:
    try:
        manifest = store.check(store.model_folder(name), full=verify)
    except LmscopeError as error:
        return Check(f"model {name}", "broken", str(error), f"lmscope models get {name}")
    how = "every byte hashed" if verify else "sizes and times fit"
    return Check(f"model {name}", "ok", f"weights {manifest.weights_hash[:16]}, {how}")
