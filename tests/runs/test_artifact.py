import json
import os

import pytest

from lmscope.core.errors import ArtifactError
from lmscope.runs.artifact import read_manifest, write_artifact


def write(path, *, version=1, text="weights", kind="dictionary"):
    with write_artifact(path, kind, version) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "w.bin").write_text(text)
        (folder / "config.json").write_text("{}")
    return path


def read(path, **options):
    return read_manifest(path, "dictionary", (2, 1), **options)


def test_equal_content_gives_equal_bytes(tmp_path):
    a, b = write(tmp_path / "a"), write(tmp_path / "b")
    assert (a / "manifest.json").read_bytes() == (b / "manifest.json").read_bytes()
    other = write(tmp_path / "c", text="other")
    assert read(other).content_digest != read(a).content_digest
    assert set(read(a, verify=True).files) == {"inner/w.bin", "config.json"}


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="x"), write_artifact(tmp_path / "a", "k", 1) as folder:  # noqa: PT012
        (folder / "w").write_text("")
        raise ValueError("x")
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_is_never_replaced(tmp_path):
    write(tmp_path / "a")
    with pytest.raises(ArtifactError, match="exists already"):
        write(tmp_path / "a", text="new")
    assert (tmp_path / "a" / "inner" / "w.bin").read_text() == "weights"


def test_empty_artifacts_and_links_are_refused(tmp_path):
    with (
        pytest.raises(ArtifactError, match="holds no file"),
        write_artifact(tmp_path / "a", "k", 1),
    ):
        pass
    with (
        pytest.raises(ArtifactError, match="is a link"),
        write_artifact(tmp_path / "a", "k", 1) as f,
    ):
        (f / "l").symlink_to(os.devnull)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: (p / "inner" / "w.bin").unlink(), r"w\.bin' is missing"),
        (
            lambda p: (p / "inner" / "w.bin").write_text("short"),
            r"w\.bin' is damaged: it has 5 bytes",
        ),
        (
            lambda p: (p / "inner" / "w.bin").write_text("wEights"),
            r"w\.bin' is damaged: its content",
        ),
        (lambda p: (p / "manifest.json").unlink(), "has no manifest.json"),
        (lambda p: (p / "manifest.json").write_text("{"), "is damaged"),
        (lambda p: (p / "manifest.json").write_text("{}"), "is damaged"),
    ],
)
def test_damage_is_named(tmp_path, damage, words):
    path = write(tmp_path / "a")
    damage(path)
    with pytest.raises(ArtifactError, match=words):
        read(path, verify=True)


def test_an_edited_manifest_is_refused(tmp_path):
    path = write(tmp_path / "a")
    values = json.loads((path / "manifest.json").read_text())
    values["files"]["config.json"]["sha256"] = "0" * 64
    (path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match="was edited"):
        read(path)


def test_absent_wrong_kind_and_unknown_formats_say_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match="nothing is there"):
        read(tmp_path / "absent")
    with pytest.raises(ArtifactError, match="holds no dictionary, its kind is 'graph'"):
        read(write(tmp_path / "g", kind="graph"))
    with pytest.raises(ArtifactError, match="upgrade lmscope"):
        read(write(tmp_path / "new", version=3))
    with pytest.raises(ArtifactError, match="reads from 2 on"):
        read_manifest(write(tmp_path / "old"), "dictionary", (3, 2))
