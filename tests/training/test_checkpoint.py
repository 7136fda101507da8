import json
import resource

import pytest
import torch

from lmscope.core.errors import ArtifactError
from lmscope.training.checkpoint import Checkpoints, read_checkpoint

OBJECTIVES = {"sae@1": {"weights": torch.arange(6.0).view(2, 3), "n": 4}, "b": {"x": [1.5, None]}}
SHARED = {"stream": {"batches": 7}, "random": {"cpu": torch.get_rng_state()}}


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    for step in (10, 20):
        checkpoints.save(step, SHARED, OBJECTIVES)
    return checkpoints


def test_everything_comes_back(saved):
    found = saved.latest()
    assert found.step == 20
    assert found.path.name == "step-00000020"
    assert found.shared["stream"] == {"batches": 7}
    assert torch.equal(found.shared["random"]["cpu"], SHARED["random"]["cpu"])
    assert torch.equal(found.objectives["sae@1"]["weights"], OBJECTIVES["sae@1"]["weights"])
    assert found.objectives["b"] == {"x": [1.5, None]}


def test_no_checkpoint_is_none(tmp_path):
    assert Checkpoints(tmp_path / "nowhere").latest() is None


def test_nothing_is_pickled(saved):
    names = {p.suffix for p in saved.folder.rglob("*") if p.is_file()}
    assert names == {".json", ".safetensors"}


def test_only_the_newest_are_kept_and_steps_sort_as_numbers(saved):
    for step in (30, 123_456_789):
        saved.save(step, SHARED, OBJECTIVES)
    assert [p.name for p in saved.paths()] == ["step-00000030", "step-123456789"]
    assert saved.latest().step == 123_456_789


def test_later_checkpoints_of_a_given_up_future_go(saved):
    saved.save(15, SHARED, OBJECTIVES)
    assert [p.name for p in saved.paths()] == ["step-00000010", "step-00000015"]


def test_saving_a_step_again_replaces_it(saved):
    saved.save(20, {"stream": {"batches": 8}}, OBJECTIVES)
    assert saved.latest().shared["stream"] == {"batches": 8}
    assert len(saved.paths()) == 2


@pytest.mark.parametrize(
    "name", ["manifest.json", "state.json", "objective-sae@1.safetensors", "shared.safetensors"]
)
@pytest.mark.parametrize("damage", ["cut", "delete", "flip"])
def test_damage_to_any_file_names_it_and_the_older_checkpoint(saved, name, damage):
    newest = saved.paths()[-1]
    content = (newest / name).read_bytes()
    if damage == "delete":
        (newest / name).unlink()
    else:
        changed = content[: len(content) // 2] if damage == "cut" else b"\xff" + content[1:]
        (newest / name).write_bytes(changed)
    with pytest.raises(ArtifactError) as failure:
        saved.latest()
    message = str(failure.value)
    assert "step-00000020' is damaged" in message
    assert name in message
    assert f"Delete it to go on from the one before, '{saved.paths()[0]}'" in message
    assert saved.latest(fallback=True).step == 10
    assert read_checkpoint(saved.paths()[0]).step == 10


def test_fallback_raises_when_all_are_damaged(saved):
    for path in saved.paths():
        (path / "state.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"step-00000010.*No older one is left"):
        saved.latest(fallback=True)


def test_one_of_a_newer_version_asks_for_an_update(saved):
    path = saved.paths()[-1] / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(ArtifactError, match="a newer lmscope wrote it, so update lmscope"):
        saved.latest()


@pytest.mark.parametrize("change", [{"format": 99}, {"kind": "dictionary"}])
def test_unknown_format_or_kind_is_named(saved, change):
    path = saved.paths()[-1] / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArtifactError, match=r"is a \w+ of format \d+; this version reads"):
        saved.latest()


def test_half_written_folder_is_no_checkpoint_and_is_cleared(saved):
    unfinished = saved.folder / ".step-00000030.abc.part"
    unfinished.mkdir()
    (unfinished / "state.json").write_text("{}")
    assert saved.latest().step == 20
    saved.save(30, SHARED, OBJECTIVES)
    assert not unfinished.exists()


def test_write_that_the_system_refuses_keeps_the_older_ones(saved):
    """A real refusal: the process may write no file above 64 kB."""
    large = {"a": {"weights": torch.zeros(100_000)}}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(ArtifactError, match="step-00000030' cannot be written"):
            saved.save(30, SHARED, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in sorted(saved.folder.iterdir())] == ["step-00000010", "step-00000020"]
    assert saved.latest().step == 20
