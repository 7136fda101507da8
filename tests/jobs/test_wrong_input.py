"""Everything that a user can get wrong gives one sentence, exit code 1 or 2, and loses nothing.

The sentences stand in docs/explanation/errors.md; a test holds the page to them.
"""

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

import lmscope
from lmscope.cli.main import main
from lmscope.core import files
from lmscope.core.errors import ModelError, RunError, SiteError
from lmscope.jobs.train import TrainRecipe, train
from lmscope.models.batch import Batch
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature
from lmscope.runs.listing import list_runs
from lmscope.runs.run import Run

PAGE = Path(lmscope.__file__).parents[2] / "docs" / "explanation" / "errors.md"


def shown(sentence: str) -> str:
    """A sentence as the page has it: what differs from one execution to the next is spelt out."""
    sentence = re.sub(r"\d{8}-\d{6}-train-[0-9a-f]{8}", "RUN", sentence)
    sentence = re.sub(r"process \d+", "process 4242", sentence)
    return re.sub(r"\b[0-9a-f]{12,16}\b", "0123456789ab", sentence)


@pytest.fixture
def refused(capsys):
    """`refused(code, words)`: run the command; its exit code, and its one sentence, on the page too."""

    def refused(code: int, *words: str) -> str:
        capsys.readouterr()
        found = main(words)
        caught = capsys.readouterr()
        # The place of a run is told when it starts; what follows is the failure.
        said = [line for line in caught.err.splitlines() if not line.startswith("Run folder: ")]
        assert (found, caught.out, len(said)) == (code, "", 1), caught.err
        sentence = shown(said[0])
        assert "Traceback" not in sentence
        assert "defect of lmscope" not in sentence
        assert sentence in PAGE.read_text(encoding="utf-8"), f"not on the page: {sentence}"
        return sentence

    return refused


def override(text: str) -> tuple[str, ...]:
    return ("train", "recipe.toml", "--set", text)


WRONG = {
    "a site that is misspelt": (1, ("train", "recipe.toml", "--site", "resid_pots@1")),
    "a layer that is not there": (1, ("train", "recipe.toml", "--site", "resid_post@14")),
    "a site of another family": (
        1,
        ("train", "recipe.toml", "--model", "neox", "--site", "mlp_gate@1"),
    ),
    "a site that is no row per token": (1, ("train", "recipe.toml", "--site", "pattern@1")),
    "a part without a layer": (1, ("train", "recipe.toml", "--site", "resid_post")),
    "logits of a model without a head": (
        1,
        ("train", "recipe.toml", "--model", "headless", "--site", "logits"),
    ),
    "a typo in a recipe's key": (2, override("training.learning_rate=1e-3")),
    "a value of a wrong type": (2, override("training.lr='fast'")),
    "a value out of range": (2, override("text.held_out_fraction=1.5")),
    "k above the latents": (2, ("train", "recipe.toml", "--latents", "16", "--k", "32")),
    "no latents": (2, ("train", "recipe.toml", "--latents", "0")),
    "no latents, in the recipe": (2, override("dictionary.n_latents=[0]")),
    "the same dictionary twice": (
        2,
        (
            "train",
            "recipe.toml",
            "--site",
            "resid_post@1",
            "--site",
            "resid_post@1",
            "--latents",
            "64",
            "--latents",
            "64",
        ),
    ),
    "no site": (2, override("dictionary.sites=[]")),
    "a recipe that is not there": (2, ("train", "absent.toml")),
    "a text that is not there": (1, ("train", "recipe.toml", "--corpus", "txet.jsonl")),
    "an empty corpus": (1, ("train", "recipe.toml", "--corpus", "empty.jsonl")),
    "a corpus of one document": (1, ("train", "recipe.toml", "--corpus", "one.txt")),
    "a text shorter than a context": (
        1,
        ("train", "recipe.toml", "--corpus", "short.jsonl", "--context-length", "500"),
    ),
    "a text too short for a batch": (
        1,
        ("train", "recipe.toml", "--set", "stream.batch_tokens=65536"),
    ),
    "a text too short for the streams": (1, ("train", "recipe.toml", "--corpus", "short.jsonl")),
    "fewer tokens than a context": (1, ("train", "recipe.toml", "--tokens", "20")),
    "more steps than text": (1, override("training.steps=100000")),
    "a text that is not UTF-8": (1, ("train", "recipe.toml", "--corpus", "latin1.txt")),
    "a line that is not JSON": (1, ("train", "recipe.toml", "--corpus", "broken.jsonl")),
    "a column that is not there": (1, override("text.column='body'")),
    "a model folder that is not there": (1, ("train", "recipe.toml", "--model", "./absent")),
    "a model with a near name": (1, ("train", "recipe.toml", "--model", "smollm2-135m")),
    "a model of the hub, without network": (1, ("train", "recipe.toml", "--model", "owner/absent")),
    "a model folder without weights": (1, ("train", "recipe.toml", "--model", "hollow")),
    "a device that is not there": (1, ("train", "recipe.toml", "--device", "warp")),
    "a run that is not there": (1, ("train", "--resume", "absent")),
}


@pytest.fixture
def office(desk, monkeypatch) -> Path:
    """The desk, with everything on it that can be wrong, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(desk / "hub"))
    for name, text in {
        "empty.jsonl": "",
        "one.txt": "a single document " * 50,
        "short.jsonl": '{"text": "to be"}\n{"text": "or not"}\n{"text": "to do"}\n' * 2
        + "".join(f'{{"text": "is {i}"}}\n' for i in range(30)),
        "broken.jsonl": '{"text": "good"}\n{"text": "cut\n',
    }.items():
        (desk / name).write_text(text, encoding="utf-8")
    (desk / "latin1.txt").write_bytes("naïve\n".encode("latin-1"))
    (desk / "hollow").mkdir()
    for name, model in (("neox", miniature("gpt_neox")), ("headless", miniature("bert"))):
        bare = model.hf.base_model if name == "headless" else model.hf
        bare.save_pretrained(desk / name)
        model.tokenizer.save_pretrained(desk / name)
    return desk


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_gives_one_sentence_and_leaves_no_run(office, refused, case):
    code, words = WRONG[case]
    refused(code, *words)
    assert list_runs("runs") == ()


def test_a_model_without_a_head_has_no_logits_in_python_either(office):
    model = LanguageModel.load("headless")
    batch = Batch(tokens=miniature("bert").tokenizer("to be", return_tensors="pt").input_ids)
    with pytest.raises(SiteError, match="headless has no 'logits': it has no language-model head"):
        model.read(batch, ["logits"])
    with pytest.raises(ModelError, match="read sites instead"):
        model(batch)


@pytest.fixture
def stopped(desk, interrupted) -> Run:
    """A run that was stopped after step 20 of 30, with checkpoints at 10 and 20."""
    wanted = TrainRecipe.load("recipe.toml")
    return Run.open(interrupted(wanted, Path("runs"), 20).path)


def _digest(run: Run) -> tuple[bytes, bytes]:
    (manifest,) = (run.artifacts / "dictionaries").glob("*/manifest.json")
    return manifest.read_bytes(), (run.path / "metrics.jsonl").read_bytes()


def _resumes_to_the_whole(run: Run) -> None:
    assert main(["train", "--resume", str(run.path)]) == 0
    recipe = TrainRecipe.from_mapping(run.recipe_values)
    assert _digest(Run.open(run.path)) == _digest(train(recipe, root="whole"))


def test_a_truncated_checkpoint_names_the_one_before(stopped, refused):
    newest = stopped.checkpoints / "step-00000020"
    (weights,) = newest.glob("objective-*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    sentence = refused(1, "train", "--resume", str(stopped.path))
    assert "Delete it to go on from the one before" in sentence
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    _resumes_to_the_whole(stopped)


def test_a_damaged_shard_is_named_and_read_again_once_deleted(desk, interrupted, refused):
    wanted = TrainRecipe.load("recipe.toml", ["stream.store=disk"])
    run = interrupted(wanted, Path("runs"), 20)
    shards = sorted((run.path / "activations").rglob("*.bin"))
    for shard in shards:
        shard.write_bytes(b"\xff" + shard.read_bytes()[1:])
    sentence = refused(1, "train", "--resume", str(run.path))
    assert Run.open(run.path).status == "failed"
    assert "the model is then read again" in sentence
    for shard in shards:
        shard.with_suffix(".json").unlink()
    _resumes_to_the_whole(run)


def test_a_full_disk_keeps_the_checkpoint_before(desk, refused, monkeypatch):
    sync = files._sync

    def full(path: Path) -> None:
        if "step-00000020" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        sync(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", full)
        refused(1, "train", "recipe.toml")
    (entry,) = list_runs("runs")
    assert entry.run.status == "failed"
    assert "disk is full" in entry.run.record.error
    assert [path.name for path in entry.run.checkpoints.iterdir()] == ["step-00000010"]
    _resumes_to_the_whole(entry.run)


HOLDS_THE_LOCK = """
import fcntl, os, sys
handle = os.open(sys.argv[1] + "/.lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX)
os.ftruncate(handle, 0)
os.pwrite(handle, str(os.getpid()).encode(), 0)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_that_another_process_writes_is_left_alone(stopped, refused):
    before = {path: path.stat().st_mtime_ns for path in stopped.path.rglob("*.json*")}
    command = [sys.executable, "-c", HOLDS_THE_LOCK, str(stopped.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        assert Run.open(stopped.path).status == "interrupted"
        refused(1, "train", "--resume", str(stopped.path))
        refused(1, "runs", "rm", str(stopped.path))
        other.stdin.close()
    assert {path: path.stat().st_mtime_ns for path in stopped.path.rglob("*.json*")} == before
    _resumes_to_the_whole(stopped)


def test_a_run_goes_on_with_its_own_recipe_only(stopped, refused, recipe):
    refused(2, "train", "--resume", str(stopped.path), "--k", "3")
    other = TrainRecipe.from_mapping({**stopped.recipe_values, "seed": 1})
    with pytest.raises(RunError, match="began with another recipe: seed was 0 and now is 1"):
        train(other, resume=stopped.path)
    file = stopped.path / "recipe.toml"
    own = file.read_text()
    file.write_text(own.replace("seed = 0", "seed = 1"))
    refused(1, "train", "--resume", str(stopped.path))
    file.write_text(own)
    _resumes_to_the_whole(stopped)


def test_a_done_run_is_never_edited(trained, refused, monkeypatch):
    monkeypatch.chdir(trained.path.parents[1])
    before = {path: path.read_bytes() for path in trained.path.rglob("*") if path.is_file()}
    place = trained.path.relative_to(Path.cwd())
    monkeypatch.chdir(trained.path.parent)
    refused(1, "train", "--resume", place.name)
    assert {path: path.read_bytes() for path in before} == before


def test_a_damaged_dictionary_is_not_measured(desk, refused):
    wanted = TrainRecipe.load("recipe.toml", ["training.steps=2", "evaluation.tokens=0"])
    run = train(wanted)
    (weights,) = (run.artifacts / "dictionaries").glob("*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    refused(1, "evaluate", run.path.name)
    refused(1, "evaluate", "runs/nothing")
    assert [entry.path for entry in list_runs("runs")] == [run.path]
