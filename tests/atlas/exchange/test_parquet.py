import builtins
import dataclasses

import numpy as np
import pyarrow.parquet
import pytest

from lmscope.atlas.exchange.parquet import read_parquet, read_parquet_meta, write_parquet
from lmscope.core.errors import ArtifactError


def plain(value):
    """A dataclass as nested plain values, so that arrays compare by content."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.tolist())
    return [plain(one) for one in value] if isinstance(value, tuple) else value


def test_every_value_comes_back_exactly(content, tmp_path):
    write_parquet(content, tmp_path / "a.parquet")
    found = list(read_parquet(tmp_path / "a.parquet"))
    assert [plain(entry) for entry, _ in found] == [plain(entry) for entry in content.entries()]
    for entry, vector in found:
        assert vector.dtype == np.float16
        np.testing.assert_array_equal(vector, content.vectors[entry.record.latent])
    assert read_parquet_meta(tmp_path / "a.parquet") == (content.meta, None)


def test_the_text_of_an_example_is_whole(content, tmp_path):
    write_parquet(content, tmp_path / "a.parquet", vectors=False)
    rows = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    first = rows[1]["groups"][0]["examples"][0]
    assert " the\u2019s" in first["text"]  # U+2019 lies in three tokens of the corpus
    assert first["tokens"][3:8] == [1, 4, 5, 6, 7]
    assert rows[1]["vector"] is None


def test_equal_atlases_give_equal_bytes(content, tmp_path):
    for name in ("a", "b"):
        write_parquet(content, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_without_pyarrow_one_sentence_says_what_to_install(content, tmp_path, monkeypatch):
    original = builtins.__import__

    def without(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ArtifactError, match=r"pip install 'lmscope\[export\]'"):
        write_parquet(content, tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_and_one_of_others_are_refused(content, tmp_path):
    write_parquet(content, tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-20])
    with pytest.raises(ArtifactError, match="cannot be read as Parquet"):
        list(read_parquet(tmp_path / "cut.parquet"))
    foreign = pyarrow.table({"latent": [1]})
    pyarrow.parquet.write_table(foreign, tmp_path / "other.parquet")
    with pytest.raises(ArtifactError, match="but no atlas"):
        read_parquet_meta(tmp_path / "other.parquet")
    with pytest.raises(ArtifactError, match="There is no file"):
        read_parquet_meta(tmp_path / "none.parquet")


def test_fewer_latents_than_promised_leave_no_file(content, tmp_path):
    short = dataclasses.replace(content, n_entries=9)
    with pytest.raises(ArtifactError, match="gave 5 latents where 9 were chosen"):
        write_parquet(short, tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []
