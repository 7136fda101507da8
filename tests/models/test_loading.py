import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import errors as hub_errors

from lmscope.core.errors import ModelError
from lmscope.models import loading
from lmscope.models.loading import auto_class, load_pretrained
from lmscope.models.miniature import miniature
from lmscope.models.weights import weights_hash


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMSCOPE_CACHE", str(tmp_path / "cache"))


def save(family: str, folder: Path) -> Path:
    model = miniature(family)
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def saved_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def llama(saved_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_llama, tmp_path / "model"))


def set_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_folder_gives_the_same_logits_as_the_saved_model(llama):
    loaded = load_pretrained(str(llama), device="cpu")
    tokens = torch.tensor([[1, 4, 2]])
    with torch.no_grad():
        expected = miniature("llama").hf(tokens).logits
        assert torch.equal(loaded.hf(tokens).logits, expected)
    assert not loaded.hf.training
    assert loaded.name == str(llama)
    assert len(loaded.tokenizer) == len(miniature("llama").tokenizer)


def test_dtype_is_the_checkpoints_unless_asked_otherwise(llama):
    assert load_pretrained(str(llama), device="cpu").hf.dtype == torch.float32
    half = load_pretrained(str(llama), device="cpu", dtype="bfloat16").hf
    assert half.dtype == torch.bfloat16
    half.save_pretrained(llama)
    assert load_pretrained(str(llama), device="cpu").hf.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("LlamaForCausalLM", "AutoModelForCausalLM"),
        ("GPT2LMHeadModel", "AutoModelForCausalLM"),
        ("RobertaForMaskedLM", "AutoModelForMaskedLM"),
        ("BertForPreTraining", "AutoModelForMaskedLM"),
        ("BertModel", "AutoModel"),
    ],
)
def test_class_is_decided_by_the_architecture_alone(architecture, expected):
    assert auto_class([architecture], "x") == expected


@pytest.mark.parametrize("architectures", [None, [], ["BertForSequenceClassification"]])
def test_checkpoint_that_is_no_language_model_is_refused(architectures):
    with pytest.raises(ModelError, match="'x'"):
        auto_class(architectures, "x")


def test_bare_encoder_loads_without_a_head(tmp_path):
    model = miniature("bert")
    model.hf.base_model.save_pretrained(tmp_path / "bert")
    model.tokenizer.save_pretrained(tmp_path / "bert")
    loaded = load_pretrained(str(tmp_path / "bert"), device="cpu")
    assert type(loaded.hf).__name__ == "BertModel"
    assert loaded.hf.get_output_embeddings() is None


def test_architecture_that_the_weights_do_not_fill_is_refused(llama):
    set_config(llama, architectures=["LlamaForCausalLM"], num_hidden_layers=5)
    with pytest.raises(ModelError, match=r"lack .* tensors of a LlamaForCausalLM"):
        load_pretrained(str(llama), device="cpu")


def test_weights_hash_equals_a_naive_one(llama):
    import hashlib

    from safetensors import safe_open

    text = b""
    with safe_open(llama / "model.safetensors", framework="pt") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            shape = ",".join(str(n) for n in tensor.shape)
            text += f"{name}\0F32\0{shape}\0".encode() + tensor.numpy().tobytes()
    assert weights_hash(llama) == hashlib.sha256(text).hexdigest()


def test_weights_hash_ignores_sharding_and_sees_values(llama, tmp_path):
    whole = weights_hash(llama)
    model = load_pretrained(str(llama), device="cpu").hf
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert weights_hash(tmp_path / "shards") == whole
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1
    model.save_pretrained(tmp_path / "changed")
    assert weights_hash(tmp_path / "changed") != whole


def test_remembered_hash_follows_a_change_of_the_file(llama, tmp_path, monkeypatch):
    monkeypatch.setattr("lmscope.models.weights._CACHE_FROM_BYTES", 0)
    first = weights_hash(llama, tmp_path / "cache")
    assert weights_hash(llama, tmp_path / "cache") == first
    assert len(list((tmp_path / "cache" / "hashes").iterdir())) == 1
    load_pretrained(str(llama), device="cpu").hf.bfloat16().save_pretrained(llama)
    assert weights_hash(llama, tmp_path / "cache") == weights_hash(llama) != first


@pytest.mark.parametrize("size", [4, 100, 5000])
def test_truncated_weights_are_refused(llama, size):
    with (llama / "model.safetensors").open("r+b") as file:
        file.truncate(size)
    with pytest.raises(ModelError, match=r"model\.safetensors'.*Fetch the model again"):
        load_pretrained(str(llama), device="cpu")


def test_missing_shard_is_named(llama, tmp_path):
    folder = tmp_path / "shards"
    model = load_pretrained(str(llama), device="cpu")
    model.hf.save_pretrained(folder, max_shard_size="20KB")
    gone = sorted(folder.glob("*.safetensors"))[0]
    gone.unlink()
    with pytest.raises(ModelError, match=gone.name):
        load_pretrained(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no model.safetensors"),
    ],
)
def test_folder_that_lacks_a_file_says_which(llama, file, message):
    (llama / file).unlink()
    with pytest.raises(ModelError, match=message):
        load_pretrained(str(llama), device="cpu")


def test_pickled_weights_are_not_opened(llama):
    (llama / "model.safetensors").rename(llama / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        load_pretrained(str(llama), device="cpu")


def test_folder_without_a_tokenizer_says_so(llama):
    for path in llama.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="no tokenizer"):
        load_pretrained(str(llama), device="cpu")


def test_unknown_model_type_is_one_sentence_and_runs_no_code(llama):
    set_config(llama, model_type="nonesuch", auto_map={"AutoModelForCausalLM": "evil.Evil"})
    (llama / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        load_pretrained(str(llama), device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["/no/such/folder", "./absent", "a/b/c", "absent.gguf"])
def test_path_that_does_not_exist_never_asks_the_hub(name, monkeypatch):
    monkeypatch.setattr(loading, "snapshot", lambda name: pytest.fail("asked the hub"))
    with pytest.raises(ModelError, match="There is no"):
        load_pretrained(name, device="cpu")


def test_file_that_is_no_gguf_is_refused(llama):
    with pytest.raises(ModelError, match="is a file"):
        load_pretrained(str(llama / "config.json"))


def hub_error(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, "the hub's own long text\nover lines")
    return error


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (hub_errors.RepositoryNotFoundError, "no public model on the hub. Did you mean minilm-l6"),
        (hub_errors.GatedRepoError, "is gated: accept its terms"),
        (hub_errors.RevisionNotFoundError, "has no revision"),
        (hub_errors.HFValidationError, "no hub id"),
        (hub_errors.LocalEntryNotFoundError, "the hub cannot be asked"),
        (hub_errors.OfflineModeIsEnabled, "the hub cannot be asked"),
        (ConnectionError, "Go online"),
    ],
)
def test_each_failure_of_the_hub_is_one_sentence(kind, message, monkeypatch):
    def fail(*_: object, **__: object) -> str:
        raise hub_error(kind)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(ModelError, match=message) as caught:
        load_pretrained("minilm-l7", device="cpu")
    assert "\n" not in str(caught.value)


def test_hub_model_is_loaded_from_its_snapshot(llama, monkeypatch):
    asked: list[tuple[str, object]] = []

    def answer(repository: str, *, revision: object, **_: object) -> str:
        asked.append((repository, revision))
        return str(llama)

    monkeypatch.setattr("huggingface_hub.snapshot_download", answer)
    assert load_pretrained("owner/model@step1", device="cpu").weights_hash == weights_hash(llama)
    load_pretrained("pythia-160m", device="cpu")
    assert asked == [("owner/model", "step1"), ("EleutherAI/pythia-160m", None)]


@pytest.mark.parametrize("dtype", ["float31", "int8", torch.int32])
def test_number_format_that_is_none_is_refused(llama, dtype):
    with pytest.raises(ModelError, match="number format"):
        load_pretrained(str(llama), dtype=dtype)


@pytest.mark.parametrize("device", ["gpu", "toaster:1"])
def test_device_that_is_none_is_refused(llama, device):
    with pytest.raises(ModelError, match="is no device"):
        load_pretrained(str(llama), device=device)
