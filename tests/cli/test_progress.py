import io

import pytest
from rich.console import Console

from lmscope.cli.progress import ProgressListener
from lmscope.core.protocols import Listener


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _recorded(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, record=True)


def _train(listener: ProgressListener, clock: Clock, *, seconds: int, fail: bool = False) -> None:
    """A phase of ten steps a second; the fields are what the training loop gives."""
    with listener:
        listener.on_event("phase", {"phase": "train"})
        for step in range(1, seconds * 10 + 1):
            clock.now += 0.1
            fields = {"tokens_per_s": 4200.0, "loss": 0.25, "l0": 32.0}
            listener.on_progress("train", step, seconds * 10, fields)
            if fail and step == seconds * 5:
                raise KeyboardInterrupt


def test_it_is_a_listener() -> None:
    assert isinstance(ProgressListener(_recorded(terminal=False)), Listener)


def test_a_terminal_shows_a_bar_with_rate_loss_and_l0() -> None:
    console, clock = _recorded(terminal=True), Clock()
    _train(ProgressListener(console, clock=clock), clock, seconds=5)
    text = console.export_text()
    for part in ("Train", "50/50", "4.2k tokens/s", "loss 0.25", "L0 32", "in 5.0 s"):
        assert part in text


def test_time_left_follows_from_the_rate_so_far() -> None:
    console, clock = _recorded(terminal=True), Clock()
    with ProgressListener(console, clock=clock) as listener:
        listener.on_progress("evaluate", 0, 100, {})
        clock.now = 10.0
        listener.on_progress("evaluate", 20, 100, {})
        assert listener._phase is not None
        assert listener._phase.time_left() == "40.0 s left"  # 20 of 100 in 10 s: 80 more in 40 s
        assert listener._phase.figures() == "2/s"


def test_a_resumed_phase_counts_its_rate_from_where_it_began() -> None:
    console, clock = _recorded(terminal=True), Clock()
    with ProgressListener(console, clock=clock) as listener:
        listener.on_progress("train", 50, 100, {})
        clock.now = 10.0
        listener.on_progress("train", 60, 100, {})
        assert listener._phase is not None
        assert listener._phase.time_left() == "40.0 s left"  # 10 in 10 s, 40 to go


@pytest.mark.parametrize("terminal", [True, False])
def test_a_phase_shorter_than_the_patience_is_not_shown(terminal: bool) -> None:
    console, clock = _recorded(terminal=terminal), Clock()
    _train(ProgressListener(console, clock=clock), clock, seconds=1)
    assert console.export_text().strip() == ""


def test_without_a_terminal_a_long_phase_gives_one_line_at_each_end() -> None:
    console, clock = _recorded(terminal=False), Clock()
    _train(ProgressListener(console, clock=clock), clock, seconds=5)
    first, last = console.export_text().splitlines()
    assert first.startswith("Train: ")
    assert first.endswith(" of 50, at work ...")
    assert last == "Train: done after 5.0 s (4.2k tokens/s  loss 0.25  L0 32)"


def test_a_phase_that_fails_says_stopped() -> None:
    console, clock = _recorded(terminal=False), Clock()
    with pytest.raises(KeyboardInterrupt):
        _train(ProgressListener(console, clock=clock), clock, seconds=6, fail=True)
    assert "Train: stopped after 3.0 s" in console.export_text()


def test_phases_follow_each_other_each_with_its_own_time() -> None:
    console, clock = _recorded(terminal=False), Clock()
    with ProgressListener(console, clock=clock) as listener:
        listener.on_event("phase", {"phase": "load"})
        clock.now = 3.0
        listener.on_event("phase", {"phase": "text"})
        clock.now = 7.0
        listener.on_event("phase", {"phase": "text"})
        clock.now = 8.0
    assert console.export_text().splitlines() == [
        "Load the model: done after 3.0 s",
        "Read the text: done after 4.0 s",
    ]


def test_messages_and_the_folder_are_said_and_cannot_act_on_the_terminal() -> None:
    console = _recorded(terminal=False)
    with ProgressListener(console) as listener:
        listener.on_event("started", {"folder": "runs/a"})
        listener.on_event("model_fetch", {"message": "Fetching [x]\x1b[2J."})
        listener.on_event("checkpoint", {"step": 3})
    first, second = console.export_text().splitlines()
    assert first == "Run folder: runs/a"
    assert second.startswith("Fetching [x]")
    assert "\x1b" not in second


def test_a_phase_may_begin_in_the_middle_and_says_how_many_dictionaries_are_done() -> None:
    console, clock = _recorded(terminal=True), Clock()
    with ProgressListener(console, clock=clock) as listener:
        listener.on_event("phase", {"phase": "train"})
        listener.on_progress("train", 100, 200, {})
        clock.now = 10.0
        counts = {"dictionaries_done": 2, "n_dictionaries": 6}
        listener.on_progress("train", 120, 200, counts)
        assert listener._phase is not None
        assert listener._phase.time_left() == "40.0 s left"  # 20 steps in 10 s: 80 more in 40 s
        assert listener._phase.figures() == "2/6 dictionaries  2/s"


def test_without_a_terminal_long_work_says_now_and_then_how_far_it_is() -> None:
    console, clock = _recorded(terminal=False), Clock()
    with ProgressListener(console, clock=clock) as listener:
        for done in range(3001):
            clock.now = float(done)
            listener.on_progress("train", done, 3000, {"loss": 0.5})
    lines = console.export_text().splitlines()
    assert lines[0] == "Train: 2 of 3k, at work ..."
    assert lines[1] == "Train: 30 of 3k, 1/s  loss 0.5, 49 min 30 s left"
    told = [line.split()[1] for line in lines[2:6]]
    assert told == ["60", "120", "240", "480"]
    assert 12 < len(lines) < 18  # then every five minutes
    assert lines[-1].startswith("Train: done after")


def test_a_run_that_goes_on_is_as_fast_as_it_is_since_then() -> None:
    console, clock = _recorded(terminal=False), Clock()
    with ProgressListener(console, clock=clock) as listener:
        listener.on_event("phase", {"phase": "train"})
        for second in range(41):
            clock.now = float(second)
            listener.on_progress("train", 500 + second, 1000, {})
    assert console.export_text().splitlines()[1] == "Train: 530 of 1k, 1/s, 7 min 50 s left"
