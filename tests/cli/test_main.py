import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from cyclopts import App

from lmscope.cli.main import COMMANDS, app, main
from lmscope.cli.run_names import find_run

RUN_JSON = {
    "format_version": 1,
    "status": "done",
    "job": "train",
    "name": "train",
    "recipe_digest": "80dcf13e68310a4d",
    "machine": {"kind": "x86_64-cpu-2", "n_threads": 1, "versions": {}},
    "created": "2026-01-01T00:00:00Z",
}


def _fake_run(root: Path, name: str, seed: int = 0) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(RUN_JSON), encoding="utf-8")
    (folder / "recipe.toml").write_text(f'job = "train"\nseed = {seed}\n', encoding="utf-8")
    return folder


def _all_apps(parent: App, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], App]]:
    found = [(path, parent)]
    for name in parent:
        if not name.startswith("-"):
            found += _all_apps(parent[name], (*path, name))
    return found


@pytest.mark.parametrize(
    "words",
    [[], ["--help"], ["--version"], *([name, "--help"] for name in COMMANDS), ["trian"]],
    ids=" ".join,
)
def test_help_and_usage_errors_import_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from lmscope.cli.main import main; main(sys.argv[1:]); "
        "heavy = {'torch', 'transformers', 'datasets', 'scipy', 'matplotlib', 'numpy'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_has_an_example_that_starts_with_its_own_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands = _all_apps(app)
    assert {path[0] for path, _ in commands if path} == set(COMMANDS)
    for path, _ in commands:
        assert main([*path, "--help"]) == 0
        shown = capsys.readouterr().out
        assert "Example:" in shown, path
        assert " ".join(("    lmscope", *path)) in shown, path


def test_no_line_of_any_help_is_broken_by_a_terminal_of_80_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path, command in _all_apps(app):
        main([*path, "--help"])
        shown = capsys.readouterr().out
        for line in (command.help_epilogue or "").splitlines():
            assert line.rstrip() in shown, f"{path}: {line}"


def test_every_command_of_the_table_has_its_own_module() -> None:
    for name in COMMANDS:
        assert isinstance(import_module(f"lmscope.cli.{name}").app, App)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("trian", "'lmscope' has no command 'trian'. Did you mean train, trace?"),
        ("models lst", "'lmscope models' has no command 'lst'. Did you mean list?"),
        ("--nope", "'--nope' is no option of 'lmscope'."),
        ("doctor --verfy", "'--verfy' is no option of 'lmscope doctor'. Did you mean --verify?"),
        ("train --sight a@1", "Did you mean --site, --set, --mesh?"),
        ("models list extra", "'extra' is one argument too many for 'lmscope models list'."),
        ("doctor a.atlas --verify", "--verify is for cached models"),
        ("models show", "'lmscope models show' needs NAME."),
        ("train --k", "'--k' of 'lmscope train' needs a value."),
        ("train --seed 1 --seed 2", "'--seed' can be given only once."),
        ("train --tokens 2Q", "'2Q' is not a count; write it like 4608, 500k, 2M or 1.5B."),
        ("train --tokens 1.5", "'1.5' is not a whole number of at least 1."),
        ("train --sparsity tpk", 'Did you mean "topk"?'),
        ("train absent.toml", "There is no recipe at 'absent.toml'."),
        ("train dmeo", "No recipe is called 'dmeo'"),
        ("train demo", "use `lmscope demo`"),
        ("train --set x", "'x' is not an override"),
        ("train --set trainng.lr=1", "Did you mean training?"),
        ("train --set training.lr=fast", "'training.lr' of the recipe is wrong"),
        ("train --seed 4 --set seed=3", "'seed' is given twice"),
        ("train --set seed=3 --set seed.a=4", "'seed' is a value, not a table"),
        ("train --k 3 --sparsity relu", "--k has no effect on relu"),
        ("train --transcoder mlp_in@6", "'mlp_in@6' is no transcoder"),
        ("train --resume x --k 3", "--resume goes on with the run's own recipe"),
        ("evaluate", "There is nothing to evaluate"),
    ],
)
def test_a_usage_error_is_one_sentence_and_exit_code_2(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("models show gemma3", "Did you mean gemma3-270m-q4?"),
        ("models get no-such-model", "'no-such-model' is not in the catalog."),
        ("runs show nothing", "There is no run 'nothing': 'runs' holds no runs"),
        ("runs rm nothing", "There is no run 'nothing'"),
        ("train --resume nothing", "There is no run 'nothing'"),
        ("evaluate nothing", "There is no run 'nothing'"),
    ],
)
def test_what_is_not_there_is_one_sentence_and_exit_code_1(
    words: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 1
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "gemma3", "--debug"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.rstrip().endswith("`lmscope models list`.")


@pytest.mark.parametrize("command", ["models list", "models show gpt2", "runs list", "doctor"])
def test_json_is_one_object_and_alone_on_stdout(
    command: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    _fake_run(tmp_path / "runs", "a")
    assert main([*command.split(), "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_runs_are_listed_shown_compared_and_removed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _fake_run(tmp_path / "runs", "first", seed=1)
    _fake_run(tmp_path / "runs", "second", seed=2)
    assert main(["runs", "list"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in shown[1:]] == [
        ["first", "train", "done"],
        ["second", "train", "done"],
    ]
    assert main(["runs", "show", "last"]) == 0
    assert "recipe.seed" in (text := capsys.readouterr().out)
    assert "runs/second" in text
    assert main(["runs", "diff", "first", "sec", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"] == {"seed": [1, 2]}
    assert main(["runs", "rm", "sec"]) == 1, "a beginning is not enough to delete"
    assert main(["runs", "rm", "second"]) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["first"]


def test_a_run_is_not_picked_by_a_beginning_that_fits_two(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _fake_run(tmp_path, "run-a")
    _fake_run(tmp_path, "run-b")
    assert main(["runs", "show", "run", "--runs-dir", str(tmp_path)]) == 1
    assert "'run' fits 2 runs (run-a, run-b)" in capsys.readouterr().err


def test_last_can_mean_the_newest_run_that_holds_something(tmp_path: Path) -> None:
    trained = _fake_run(tmp_path, "a")
    (trained / "artifacts" / "dictionaries").mkdir(parents=True)
    newest = _fake_run(tmp_path, "b")
    assert find_run("last", tmp_path) == newest
    assert find_run("last", tmp_path, holding="artifacts/dictionaries") == trained


def test_a_damaged_run_is_listed_as_damaged(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _fake_run(tmp_path, "good")
    (_fake_run(tmp_path, "bad") / "run.json").write_text("{", encoding="utf-8")
    assert main(["runs", "list", "--runs-dir", str(tmp_path)]) == 0
    assert "damaged" in capsys.readouterr().out


def test_doctor_fails_when_the_runs_folder_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert main(["doctor"]) == 1
    shown = capsys.readouterr()
    assert "broken  runs" in shown.out
    assert "One thing is broken" in shown.err


def test_the_reader_of_a_pipe_may_leave_early() -> None:
    command = f"{sys.executable} -m lmscope models list | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_sigterm_ends_with_130_and_one_line() -> None:
    code = (
        "import os, signal, sys, lmscope.cli.doctor as d; from lmscope.cli.main import main; "
        "d.requirements = lambda: os.kill(os.getpid(), signal.SIGTERM); sys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "Stopped by SIGTERM.\n"


def test_the_handler_of_sigterm_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    main(["--version"])
    assert signal.getsignal(signal.SIGTERM) is before
