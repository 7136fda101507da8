"""Models on several devices: on this machine, layers kept on disk, and devices that are pretended."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lmscope.core.errors import ModelError
from lmscope.models import placement
from lmscope.models.batch import Batch
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature
from lmscope.models.registry import known_families

CAUSAL = sorted(name for name, family in known_families().items() if family.causal)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Miniatures in folders, saved when first asked for."""
    saved = {}

    def folder(name):
        if name not in saved:
            model, path = miniature(name), tmp_path_factory.mktemp(name)
            model.hf.save_pretrained(path)
            model.tokenizer.save_pretrained(path)
            saved[name] = path
        return saved[name]

    return folder


def map_of(model, *, layers, rest="cpu"):
    """A place for every layer in turn, and one for everything else."""
    core = model.hf.base_model_prefix
    places = {name: rest for name, _ in model.hf.named_children() if name != core}
    for name, child in model.hf.base_model.named_children():
        if name == model.family.blocks:
            for i in range(len(child)):
                places[f"{core}.{name}.{i}"] = layers[i % len(layers)]
        else:
            places[f"{core}.{name}"] = rest
    return places


@pytest.fixture
def pair(folders):
    """A model whole in memory, and the same with layers 0 and 2 kept on disk."""

    def load(name, rest="cpu", layers=("disk", "cpu"), **options):
        folder = str(folders(name))
        whole = LanguageModel.load(folder, device="cpu", **options)
        places = map_of(whole, layers=layers, rest=rest)
        return whole, LanguageModel.load(folder, device=places, **options)

    return load


def kept_elsewhere(model):
    return sum(weight.is_meta for weight in model.hf.parameters())


@pytest.mark.parametrize("name", CAUSAL)
def test_every_site_reads_and_edits_the_same_with_layers_on_disk(pair, name):
    whole, spread = pair(name)
    batch = whole.batch(["a few words", "more"])
    assert kept_elsewhere(spread) > 0
    assert torch.equal(spread(batch).logits, whole(batch).logits)
    for site in whole.sites():
        (expected,) = whole.read(batch, [site]).values()
        (found,) = spread.read(batch, [site]).values()
        assert torch.equal(found, expected), site
        change = {site: lambda x, at: x * 1.5 + 0.1}
        with whole.edit(change), spread.edit(change):
            assert torch.equal(spread(batch).logits, whole(batch).logits), site


@pytest.mark.parametrize("name", ["llama", "gpt2", "mamba"])
def test_embeddings_and_head_on_disk_change_nothing(pair, name):
    whole, spread = pair(name, rest="disk", layers=("disk",))
    assert kept_elsewhere(spread) == len(list(spread.hf.parameters()))
    assert spread.device == torch.device("cpu")
    batch = spread.batch(["words"])
    assert torch.equal(spread(batch).logits, whole(batch).logits)
    assert spread.weights_hash == whole.weights_hash


def test_resuming_caches_and_gradients_work_with_layers_on_disk(pair):
    whole, spread = pair("llama")
    batch = whole.batch(["some words", "others"])
    results = []
    for model in (whole, spread):
        middle = model.read(batch, ["resid_post@0"])
        (value,) = middle.values()
        value = value.clone().requires_grad_()
        loss = model.resume("resid_post@0", value, batch).logits.square().mean()
        (gradient,) = torch.autograd.grad(loss, value)
        first = model(batch, cache=True)
        again = model(Batch(tokens=batch.tokens[:, :1], cache=first.cache))
        results.append((loss.detach(), gradient, again.logits))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_view_of_weights_kept_on_disk_holds_their_values(pair):
    whole, spread = pair("gpt2")
    for layer in range(whole.n_layers):
        expected, found = whole.weights.mlp(layer), spread.weights.mlp(layer)
        assert torch.equal(found.W_in, expected.W_in)
        assert torch.equal(found.b_out, expected.b_out)
        norms = (m.weights.norm("attn_norm", layer) for m in (whole, spread))
        assert torch.equal(*(norm.gain for norm in norms))
    site = f"mlp_hidden@{whole.n_layers - 1}"
    assert spread.width(site) == whole.width(site)


def test_another_dtype_holds_on_disk_too(pair):
    whole, spread = pair("llama", dtype="bfloat16")
    batch = whole.batch(["words"])
    assert spread.dtype == torch.bfloat16
    assert torch.equal(spread(batch).logits, whole(batch).logits)


def test_spread_over_this_machine_equals_the_whole(folders):
    whole = LanguageModel.load(str(folders("llama")), device="cpu")
    spread = LanguageModel.load(str(folders("llama")), device="spread")
    batch = whole.batch(["words"])
    logits = spread(batch).logits.to(whole.device)
    torch.testing.assert_close(logits, whole(batch).logits)


def test_it_says_where_the_parts_lie(folders, capsys):
    model = LanguageModel.load(str(folders("llama")), device="cpu")
    places = map_of(model, layers=("disk", "cpu"))
    capsys.readouterr()
    LanguageModel.load(str(folders("llama")), device=places)
    said = capsys.readouterr().err
    assert "Parts of the model by device: 5 on cpu, 2 on disk." in said
    assert "What lies on disk is fetched again in every pass" in said


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"": "cuda:0", "lm_head": "disk"}, "cuda"),
        ({"": "gpu"}, "'gpu' is no device"),
        ({}, "The device map is empty"),
        ({"model": "cpu", "lm_head": "cpu", "model.layer.0": "disk"}, "names 'model.layer.0'"),
        ({"model.layers": "disk"}, "cannot be loaded: "),
    ],
)
def test_a_map_that_cannot_be_is_refused_in_one_sentence(folders, places, said):
    if "cuda" in said and torch.cuda.is_available():
        pytest.skip("this machine has the device that the test takes to be missing")
    with pytest.raises(ModelError, match=said) as raised:
        LanguageModel.load(str(folders("llama")), device=places)
    assert "\n" not in str(raised.value)


def test_it_says_which_extra_brings_accelerate(folders, monkeypatch):
    monkeypatch.setattr(placement, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"needs the package accelerate.*'lmscope\[gguf\]'"):
        LanguageModel.load(str(folders("llama")), device="spread")


def test_one_of_several_processes_cannot_take_all_devices(folders, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ModelError, match="'spread' takes all devices for one process, and 2"):
        LanguageModel.load(str(folders("llama")), device="spread")


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("name", CAUSAL)
def test_values_come_home_from_layers_on_other_devices(name):
    """Tensors without contents pretend to lie on two devices of a kind that torch knows by name."""
    model = miniature(name, tie_word_embeddings=False)
    places = map_of(model, layers=("lazy:0", "lazy:1"), rest="lazy:0")
    # The head lies with the last layers, as transformers spreads them.
    places |= dict.fromkeys((n for n, _ in model.hf.named_children() if n == "lm_head"), "lazy:1")
    with FakeTensorMode():
        pretend(model.hf, places)
        assert model.device == torch.device("lazy:0")
        assert {weight.device.index for weight in model.hf.parameters()} == {0, 1}
        tokens = torch.zeros(2, 5, dtype=torch.long)
        batch = Batch(tokens=tokens, mask=torch.ones(2, 5, dtype=torch.bool))
        assert model(batch).logits.device == model.device
        values = model.read(batch, model.sites())
        assert {value.device for value in values.values()} == {model.device}
        with model.edit(dict.fromkeys(model.sites(), add_one)):
            assert model(batch).logits.device == model.device
        value = torch.zeros(2, 5, model.d_model, device=model.device)
        assert model.resume("resid_post@1", value, batch).logits.device == model.device


def add_one(x, at):
    return x + torch.ones(x.shape[-1], device=at.mask.device)


def pretend(hf, places):
    """Put a model's tensors, without their contents, onto devices that need not exist."""
    from accelerate import dispatch_model

    for name, module in hf.named_modules():
        place = next((at for key, at in places.items() if f"{name}.".startswith(f"{key}.")), None)
        own = dict(module.named_parameters(recurse=False))
        for key, value in [*own.items(), *module.named_buffers(recurse=False)]:
            empty = torch.empty(value.shape, dtype=value.dtype, device=place)
            setattr(module, key, nn.Parameter(empty, False) if key in own else empty)
    dispatch_model(hf, places, skip_keys=hf._skip_keys_device_placement)
