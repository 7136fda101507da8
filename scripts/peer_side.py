"""The half of check_formats_with_peers.py that runs where the peers are; it imports no lmscope.

    python peer_side.py load FOLDER    load each case of FOLDER/cases.json with its peer's own loader
    python peer_side.py save FOLDER    let each peer save dictionaries of its own

Outputs for FOLDER/x.safetensors lie beside each case, what went wrong in load.json and save.json.
"""

import argparse
import importlib
import json
import sys
import types
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

PACKAGES = {
    "sae-lens": "sae-lens",
    "sparsify": "eai-sparsify",
    "dictionary-learning": "dictionary-learning",
}
LATENTS, K = 96, 6


def versions(circuit_tracer: str | None) -> dict[str, str]:
    """The peers that are here."""
    found = {}
    for name, package in PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
    if circuit_tracer is not None:
        found["circuit-tracer"] = tracer_version(circuit_tracer)
    return found


def tracer_version(folder: str) -> str:
    for info in Path(folder).glob("circuit_tracer-*.dist-info"):
        return info.name.removeprefix("circuit_tracer-").removesuffix(".dist-info")
    commit = Path(folder, "COMMIT")
    return commit.read_text().strip() if commit.is_file() else "checkout"


def tracer(folder: str, module: str) -> Any:
    """One module of circuit-tracer, without the packages' facades, which import all of TransformerLens."""
    sys.path.insert(0, folder)
    # Its loader asks huggingface_hub for a constant that version 1 no longer has.
    constants = importlib.import_module("huggingface_hub.constants")
    constants.HF_HUB_ENABLE_HF_TRANSFER = getattr(constants, "HF_HUB_ENABLE_HF_TRANSFER", False)
    for name in ("circuit_tracer", "circuit_tracer.transcoder", "circuit_tracer.utils"):
        if name not in sys.modules:
            package = types.ModuleType(name)
            package.__path__ = [str(Path(folder, *name.split(".")))]
            package.get_default_device = lambda: torch.device("cpu")  # pyright: ignore
            sys.modules[name] = package
    return importlib.import_module(f"circuit_tracer.{module}")


def load_sae_lens(path: Path, x: Tensor) -> Tensor:
    from sae_lens import SAE

    return SAE.load_from_disk(path)(x)


def load_sparsify(path: Path, x: Tensor) -> Tensor:
    from sparsify import SparseCoder

    return SparseCoder.load_from_disk(path)(x).sae_out


def load_tracer(folder: str) -> Callable[[Path, Tensor], Tensor]:
    def load(path: Path, x: Tensor) -> Tensor:
        import yaml

        config = yaml.safe_load((path / "config.yaml").read_text())
        config["transcoders"] = [
            str(path / f"layer_{n}.safetensors")
            for n in range(len(list(path.glob("layer_*.safetensors"))))
        ]
        loaded = tracer(folder, "utils.hf_utils").load_transcoders(config, torch.device("cpu"))
        assert loaded.feature_input_hook == "ln2.hook_normalized"
        assert loaded.feature_output_hook == "hook_mlp_out"
        return torch.stack([transcoder(x) for transcoder in loaded])

    return load


def load(folder: Path, circuit_tracer: str | None) -> dict[str, Any]:
    x = load_file(folder / "x.safetensors")["x"]
    found = versions(circuit_tracer)
    loaders: dict[str, Any] = {"sae-lens": load_sae_lens, "sparsify": load_sparsify}
    if circuit_tracer is not None:
        loaders["circuit-tracer"] = load_tracer(circuit_tracer)
    problems = {}
    for case in json.loads((folder / "cases.json").read_text()):
        if case["format"] not in found:
            continue
        try:
            y = loaders[case["format"]](Path(case["path"]), x)
            save_file({"y": y.detach().contiguous()}, folder / f"{case['id']}.peer")
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is the finding
            problems[case["id"]] = f"{type(error).__name__}: {error}"
    return {"versions": found, "problems": problems}


def randomise(module: nn.Module) -> nn.Module:
    """Random weights, thresholds positive, so that every part of a reading shows."""
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.dtype.is_floating_point:
                drawn = torch.randn(tensor.shape) * 0.4
                tensor.copy_(drawn.abs() * 3 if "threshold" in name else drawn)
    return module


def sae_lens_cases(d: int) -> Iterator[tuple[str, Any, str, bool]]:
    from sae_lens import saes
    from sae_lens.saes import batchtopk_sae, matryoshka_batchtopk_sae, topk_sae, transcoder

    metadata = {"model_name": "gpt2-small", "hook_name": "blocks.2.hook_mlp_out"}
    shape = {"d_in": d, "d_sae": LATENTS, "metadata": saes.sae.SAEMetadata(**metadata)}
    for name, kind, config, options in (
        ("standard", saes.StandardSAE, saes.StandardSAEConfig, {}),
        ("standard, b_dec kept", saes.StandardSAE, saes.StandardSAEConfig, {"apply_b_dec_to_input": False}),
        ("gated", saes.GatedSAE, saes.GatedSAEConfig, {}),
        ("jumprelu", saes.JumpReLUSAE, saes.JumpReLUSAEConfig, {}),
        ("topk", topk_sae.TopKSAE, topk_sae.TopKSAEConfig, {"k": K}),
        ("topk, rescaled", topk_sae.TopKSAE, topk_sae.TopKSAEConfig, {"k": K, "rescale_acts_by_decoder_norm": True}),
    ):  # fmt: skip
        yield name, kind(config(**shape, **options)), "save_model", False
    module = transcoder
    for name, kind, config in (
        ("transcoder", module.Transcoder, module.TranscoderConfig),
        ("transcoder, skip", module.SkipTranscoder, module.SkipTranscoderConfig),
        ("transcoder jumprelu", module.JumpReLUTranscoder, module.JumpReLUTranscoderConfig),
        ("transcoder jumprelu, skip", module.JumpReLUSkipTranscoder, module.JumpReLUSkipTranscoderConfig),
    ):  # fmt: skip
        made = kind(config(**shape, d_out=d, apply_b_dec_to_input=False))
        yield name, made, "save_model", True
    for name, kind, config, options in (
        ("topk, trained", topk_sae.TopKTrainingSAE, topk_sae.TopKTrainingSAEConfig, {}),
        ("batchtopk, trained", batchtopk_sae.BatchTopKTrainingSAE, batchtopk_sae.BatchTopKTrainingSAEConfig, {}),
        ("matryoshka, trained", matryoshka_batchtopk_sae.MatryoshkaBatchTopKTrainingSAE, matryoshka_batchtopk_sae.MatryoshkaBatchTopKTrainingSAEConfig, {"matryoshka_widths": [32]}),
    ):  # fmt: skip
        yield name, kind(config(**shape, k=K, **options)), "save_inference_model", False


def save_sae_lens(folder: Path, x: Tensor) -> Iterator[dict[str, Any]]:
    from sae_lens import SAE

    for i, (name, made, method, is_transcoder) in enumerate(sae_lens_cases(x.shape[1])):
        path = folder / f"sae-lens-{i}"
        getattr(randomise(made), method)(path)
        # What SAELens itself reads back: a training SAE infers otherwise than it trains.
        y = SAE.load_from_disk(path)(x)
        yield {"name": name, "path": str(path), "y": y, "transcoder": is_transcoder}


def save_sparsify(folder: Path, x: Tensor) -> Iterator[dict[str, Any]]:
    from sparsify import SparseCoder, SparseCoderConfig

    for i, (name, options) in enumerate(
        (
            ("topk", {"num_latents": LATENTS}),
            ("topk, width by expansion", {"expansion_factor": 4}),
            ("topk, skip", {"num_latents": LATENTS, "skip_connection": True}),
            ("transcoder", {"num_latents": LATENTS, "transcode": True}),
            ("transcoder, skip", {"num_latents": LATENTS, "transcode": True, "skip_connection": True}),
        )
    ):  # fmt: skip
        path = folder / f"sparsify-{i}" / "layers.2.mlp"
        made = SparseCoder(x.shape[1], SparseCoderConfig(k=K, **options))
        randomise(made).save_to_disk(path)  # pyright: ignore
        yield {
            "name": name,
            "path": str(path),
            "y": made(x).sae_out,
            "transcoder": "transcode" in options,
        }


def save_dictionary_learning(folder: Path, x: Tensor) -> Iterator[dict[str, Any]]:
    from dictionary_learning import dictionary as theirs
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    d = x.shape[1]
    for i, (made, trainer) in enumerate(
        (
            (theirs.AutoEncoder(d, LATENTS), "StandardTrainer"),
            (theirs.AutoEncoderNew(d, LATENTS), "StandardTrainerAprilUpdate"),
            (theirs.GatedAutoEncoder(d, LATENTS), "GatedSAETrainer"),
            (theirs.JumpReluAutoEncoder(d, LATENTS), "JumpReluTrainer"),
            (AutoEncoderTopK(d, LATENTS, K), "TopKTrainer"),
            (BatchTopKSAE(d, LATENTS, K), "BatchTopKTrainer"),
            (MatryoshkaBatchTopKSAE(d, LATENTS, K, [32, 64]), "MatryoshkaBatchTopKTrainer"),
        )
    ):
        path = folder / f"dictionary-learning-{i}"
        path.mkdir()
        name = type(made).__name__
        randomise(made)
        torch.save(made.state_dict(), path / "ae.pt")
        config = {
            "trainer_class": trainer,
            "dict_class": name,
            "activation_dim": d,
            "dict_size": LATENTS,
            "layer": 2,
            "lm_name": "gpt2",
            "submodule_name": "mlp_out_layer_2",
            **({"k": K} if hasattr(made, "k") else {}),
        }
        (path / "config.json").write_text(json.dumps({"trainer": config, "buffer": {}}))
        yield {"name": name, "path": str(path), "y": made(x)}


def save_tracer(source: str, folder: Path, x: Tensor) -> Iterator[dict[str, Any]]:
    module = tracer(source, "transcoder.single_layer_transcoder")
    d = x.shape[1]
    for i, (name, threshold, skip) in enumerate(
        (("set relu", False, False), ("set jumprelu", True, False), ("set relu, skip", False, True))
    ):
        layers = {}
        for n in range(3):
            kind = module.JumpReLU(torch.zeros(LATENTS)) if threshold else torch.relu
            made = module.SingleLayerTranscoder(
                d, LATENTS, kind, n, skip_connection=skip, dtype=torch.float32
            )
            layers[n] = randomise(made)
        path = folder / f"circuit-tracer-{i}"
        made = module.TranscoderSet(layers, "ln2.hook_normalized", "hook_mlp_out", scan="set")
        made.to_safetensors(str(path))
        (path / "config.yaml").write_text(
            "model_name: gpt2\nmodel_kind: transcoder_set\nscan: set\n"
            "feature_input_hook: ln2.hook_normalized\nfeature_output_hook: hook_mlp_out\n"
        )
        y = torch.stack([layer(x) for layer in made])
        yield {"name": name, "path": str(path), "y": y}


def save(folder: Path, circuit_tracer: str | None) -> dict[str, Any]:
    torch.manual_seed(1)
    x = load_file(folder / "x.safetensors")["x"]
    savers: dict[str, Any] = {
        "sae-lens": save_sae_lens,
        "sparsify": save_sparsify,
        "dictionary-learning": save_dictionary_learning,
    }
    if circuit_tracer is not None:
        savers["circuit-tracer"] = lambda *given: save_tracer(circuit_tracer, *given)
    found, cases = versions(circuit_tracer), []
    for name in found:
        for i, case in enumerate(savers[name](folder, x)):
            identity = f"{name}.{i}"
            save_file({"y": case.pop("y").detach().contiguous()}, folder / f"{identity}.peer")
            cases.append({**case, "format": name, "id": identity})
    return {"versions": found, "cases": cases}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("verb", choices=("load", "save"))
    options.add_argument("folder", type=Path)
    options.add_argument("--circuit-tracer")
    chosen = options.parse_args()
    result = {"load": load, "save": save}[chosen.verb](chosen.folder, chosen.circuit_tracer)
    (chosen.folder / f"{chosen.verb}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
