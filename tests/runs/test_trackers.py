import sys
from types import ModuleType

import pytest

from lmscope.core.errors import RunError
from lmscope.core.protocols import Listener
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.runs.trackers import TrackioTracker, WandbTracker

BOTH = pytest.mark.parametrize(
    ("package", "tracker"), [("wandb", WandbTracker), ("trackio", TrackioTracker)]
)


class Remote:
    """Stands for the service: remembers what it was told."""

    def __init__(self):
        self.calls = []

    def init(self, **options):
        self.calls.append(("init", options))
        return self

    def log(self, metrics, step):
        self.calls.append(("log", metrics, step))

    def finish(self, exit_code=0):
        self.calls.append(("finish", exit_code))


@BOTH
def test_metrics_and_the_end_are_forwarded(tmp_path, monkeypatch, package, tracker):
    remote, module = Remote(), ModuleType(package)
    module.init = remote.init
    monkeypatch.setitem(sys.modules, package, module)
    listener = tracker("project", "name", {"seed": 0})
    assert isinstance(listener, Listener)
    with Run.create(tmp_path, Recipe(job="a", name="b")) as run:
        run.listen(listener)
        run.metrics(3, {"loss": 1.0})
        run.progress("train", 1, 2)
    assert remote.calls == [
        ("init", {"project": "project", "name": "name", "config": {"seed": 0}}),
        ("log", {"loss": 1.0}, 3),
        ("finish", 0),
    ]


@BOTH
def test_a_missing_package_names_the_extra(monkeypatch, package, tracker):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RunError, match=rf'{package}.* pip install "lmscope\[track\]"'):
        tracker("project", "name", {})


@BOTH
def test_a_service_that_does_not_start_is_one_sentence(monkeypatch, package, tracker):
    monkeypatch.setitem(sys.modules, package, ModuleType(package))
    with pytest.raises(RunError, match=f"{package} does not start: AttributeError"):
        tracker("project", "name", {})
