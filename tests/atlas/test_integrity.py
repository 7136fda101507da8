"""`lmscope doctor` finds what is wrong with an atlas, and says so in a sentence."""

import json
import sqlite3

import pytest

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.integrity import check_atlases
from lmscope.atlas.notes import Notes
from lmscope.atlas.pack import pack
from lmscope.cli.main import main
from lmscope.core.errors import ArtifactError


def broken(path) -> str:
    return " ".join(f"{one.name}: {one.found}" for one in check_atlases(path) if one.broken)


def flip(path, at=-100) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 255
    path.write_bytes(data)


def test_a_whole_atlas_has_nothing_broken(atlas_run, tmp_path):
    with Notes(atlas_run.parent / "notes.sqlite") as notes:
        notes.write("d" * 64, 0, "a note")
    found = list(check_atlases(atlas_run))
    assert not any(one.broken for one in found)
    parts = ["", ": census", ": records", ": vectors", ": corpus", ": labels"]
    assert [one.name for one in found] == [*(f"atlas made{part}" for part in parts), "notes"]
    with Atlas.open(atlas_run) as atlas:
        packed = pack(atlas, tmp_path / "made.atlas")
    assert broken(packed) == ""
    assert broken(atlas_run / "artifacts" / "atlas" / "made") == ""


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("artifacts/atlas/made/census.sqlite", "its content is not what manifest.json names"),
        ("artifacts/atlas/made/vectors.safetensors", "its content is not what"),
        ("artifacts/corpus/*/tokens.npy", "corpus: "),
        ("../20260102-000000-explain/artifacts/labels/made/labels.sqlite", "labels: "),
    ],
)
def test_a_changed_byte_is_found(atlas_run, part, said):
    folder, pattern = (atlas_run.parent, part[3:]) if part.startswith("..") else (atlas_run, part)
    (file,) = folder.glob(pattern)
    flip(file)
    assert said in broken(atlas_run)
    assert "damaged" in broken(atlas_run)


def test_a_damaged_pack_is_found(atlas_run, tmp_path):
    with Atlas.open(atlas_run) as atlas:
        packed = pack(atlas, tmp_path / "made.atlas")
    connection = sqlite3.connect(packed)
    connection.execute("UPDATE latent SET blob = x'0102' WHERE id = 3")
    connection.commit()
    connection.close()
    assert "record of latent 3 is damaged" in broken(packed)
    connection = sqlite3.connect(packed)
    connection.execute("DELETE FROM latent WHERE id = 3")
    connection.commit()
    connection.close()
    assert "5 records of 6 latents" in broken(packed)
    packed.write_bytes(packed.read_bytes()[:20_000])
    assert "damaged" in broken(packed)


def test_a_newer_schema_asks_for_an_upgrade(atlas_run, tmp_path):
    with Atlas.open(atlas_run) as atlas:
        packed = pack(atlas, tmp_path / "made.atlas")
    connection = sqlite3.connect(packed)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    assert "schema 9, this lmscope reads up to 1: upgrade lmscope" in broken(packed)


def test_a_missing_corpus_and_a_missing_atlas_are_said(atlas_run, tmp_path):
    (corpus,) = (atlas_run / "artifacts" / "corpus").iterdir()
    corpus.rename(tmp_path / "moved")
    assert "copy the whole run" in broken(atlas_run)
    with pytest.raises(ArtifactError, match="has no atlas"):
        broken(tmp_path)


def test_doctor_says_it_and_ends_with_1(atlas_run, capsys):
    assert main(["doctor", str(atlas_run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["healthy"]
    flip(atlas_run / "artifacts" / "atlas" / "made" / "census.sqlite")
    assert main(["doctor", str(atlas_run)]) == 1
    shown = capsys.readouterr()
    assert "broken  atlas made" in shown.out
    assert "One thing is broken" in shown.err
    assert main(["doctor", "nothing"]) == 1
    assert "There is no run 'nothing'" in capsys.readouterr().err
