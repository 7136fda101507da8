"""`lmscope atlas export` and `import` as a person calls them."""

import json
from pathlib import Path

import numpy as np
import pytest

from lmscope.atlas.config import AtlasMeta, CensusOptions
from lmscope.atlas.corpus import FrozenCorpus
from lmscope.atlas.record import Example, ExampleGroup, LatentRecord, Weighted
from lmscope.atlas.store import (
    ATLAS_FORMAT,
    ATLAS_KIND,
    CENSUS_FILE,
    VECTORS_FILE,
    CensusWriter,
    write_vectors,
)
from lmscope.cli.main import main
from lmscope.models.miniature import character_tokenizer
from lmscope.runs.artifact import write_artifact
from lmscope.text.contexts import Contexts
from lmscope.text.corpus import Corpus
from lmscope.text.document import Document

N_LATENTS = 4


def record(latent: int) -> LatentRecord:
    example = Example(16, 8, 2, np.array([2, 3], np.int32), np.array([1.0, 0.5], np.float32))
    group = ExampleGroup("top", 1.0, 1.0, 1.0, (example,))
    peak = (Weighted(latent + 5, 1.0),)
    return LatentRecord(
        *(latent, 2, 0.01, 0.75, 1.0, (1,) * 32, 1, 1, 1.0, (group,), (0,)),
        *(peak, (), peak, peak, (Weighted((latent + 1) % N_LATENTS, 0.5),), ()),
    )


def save(run: Path, name: str, layer: int, corpus: FrozenCorpus) -> None:
    site = [f"resid_post@{layer}"]
    meta = AtlasMeta(
        dictionary=name,
        dictionary_digest=f"{layer}" * 64,
        dictionary_config={"reads": site, "writes": site, "n_latents": N_LATENTS, "d_write": 3},
        model="miniature",
        weights_hash="w",
        tokenizer_hash=corpus.config.tokenizer_hash,
        corpus_digest=corpus.digest,
        context_length=16,
        n_contexts=corpus.n_contexts,
        n_counted=200,
        n_latents=N_LATENTS,
        options=CensusOptions(stretch=8),
    )
    with (
        CensusWriter(run / f"{name}.part", meta) as writer,
        write_artifact(run / "artifacts" / "atlas" / name, ATLAS_KIND, ATLAS_FORMAT) as folder,
    ):
        writer.append([record(latent) for latent in range(N_LATENTS)])
        writer.seal(folder / CENSUS_FILE)
        write_vectors(folder / VECTORS_FILE, np.ones((N_LATENTS, 3), np.float32))
        writer.remove()


def contexts() -> Contexts:
    document = Document("a", "Rivers & <b>hills</b>. " * 9, "A title", "here", "CC0", "a")
    return Corpus.from_documents([document]).contexts(
        character_tokenizer(), 16, bos_id=1, style="packed"
    )


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run of two atlases, `one` of layer 0 and `two` of layer 1."""
    run = tmp_path / "census"
    (run / "artifacts").mkdir(parents=True)
    corpus = FrozenCorpus.freeze(
        run / "artifacts" / "corpus", contexts(), character_tokenizer(), n_vocab=400
    )
    save(run, "one", 0, corpus)
    save(run, "two", 1, corpus)
    monkeypatch.chdir(tmp_path)
    return tmp_path


ONE = "census/artifacts/atlas/one"
TWO = "census/artifacts/atlas/two"


def test_several_formats_are_written_at_once(desk, capsys):
    words = ["--html", "a.html", "--parquet", "a.parquet", "--neuronpedia", "np", "--json"]
    assert main(["atlas", "export", "census", "--name", "one", *words]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["n_latents"] == N_LATENTS
    assert [one["format"] for one in said["written"]] == ["html", "parquet", "neuronpedia"]
    for one in said["written"]:
        path = desk / one["path"]
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        assert one["n_bytes"] == sum(file.stat().st_size for file in files) > 0
    assert "np/miniature/0-lmscope-res-4" in said["written"][2]["notes"][0]


def test_an_import_makes_the_atlas_again(desk, capsys):
    assert main(["atlas", "export", ONE, "--parquet", "a.parquet"]) == 0
    assert main(["atlas", "import", "a.parquet", "mine", "--corpus", "census"]) == 0
    assert "4 latents of miniature, 0 labels, with vectors" in capsys.readouterr().out
    assert (desk / "mine/artifacts/atlas/one/census.sqlite").read_bytes() == (
        desk / ONE / "census.sqlite"
    ).read_bytes()
    assert main(["atlas", "import", "a.parquet", "mine"]) == 1
    assert "exists already" in capsys.readouterr().err


def test_an_import_without_its_corpus_says_where_it_belongs(desk, capsys):
    main(["atlas", "export", ONE, "--parquet", "a.parquet", "--no-vectors"])
    assert main(["atlas", "import", "a.parquet", "mine"]) == 0
    said = capsys.readouterr()
    assert "without vectors" in said.out
    assert "mine/artifacts/corpus/" in said.err


def test_circuit_tracer_takes_an_atlas_for_each_layer(desk, capsys):
    assert main(["atlas", "export", ONE, TWO, "--circuit-tracer", "features"]) == 0
    assert sorted(path.name for path in (desk / "features").iterdir()) == [
        "index.json.gz",
        "layer_0.bin",
        "layer_1.bin",
    ]
    assert main(["atlas", "export", ONE, "--circuit-tracer", "other"]) == 0
    assert "named 'features'" in capsys.readouterr().err


def test_uploads_are_of_the_latents_that_were_chosen(desk):
    words = ["--neuronpedia-upload", "up", "--latents", "0-1,3", "--model-id", "mini"]
    assert main(["atlas", "export", ONE, *words]) == 0
    payload = json.loads((desk / "up/batch-0.json").read_text())
    assert [feature["index"] for feature in payload["features"]] == [0, 1, 3]
    assert (payload["modelId"], payload["source"]) == ("mini", "0-lmscope-res-4")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([ONE], 2, "There is no format to export to: give one or more of --html, --parquet"),
        (["--html", "a.html"], 2, "There is no atlas to export"),
        ([ONE, TWO, "--html", "a.html"], 2, "only --circuit-tracer takes more than one"),
        ([ONE, "--parquet", "a", "--title", "T"], 2, "--title is of the page"),
        ([ONE, "--parquet", "a", "--source-set", "s"], 2, "--source-set is for Neuronpedia"),
        ([ONE, "--html", "a", "--latents", "x"], 2, "'x' is no number and no range"),
        ([ONE, "--html", "a", "--latents", "9-2"], 2, "runs backwards: write 2-9"),
        ([ONE, "--html", "a", "--latents", "4"], 2, "There is no latent 4: the atlas has 4"),
        ([ONE, "--html", "a", "--known"], 2, "none of them has a label that may be shown"),
        ([ONE, "--neuronpedia", "a", "--source-set", "A B"], 2, "'source_set' of the names on"),
        (["census", "--html", "a"], 1, "several atlases (one, two)"),
        (["nowhere", "--html", "a"], 1, "There is no run 'nowhere'"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence_and_leaves_nothing(
    desk, capsys, words, code, said
):
    before = sorted(desk.iterdir())
    assert main(["atlas", "export", *words]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert sorted(desk.iterdir()) == before


def test_help_names_every_format(capsys):
    assert main(["atlas", "export", "--help"]) == 0
    text = capsys.readouterr().out
    for option in (
        "--html",
        "--parquet",
        "--neuronpedia",
        "--neuronpedia-upload",
        "--circuit-tracer",
    ):
        assert option in text
    assert main(["atlas", "import", "--help"]) == 0
    assert "--corpus" in capsys.readouterr().out
