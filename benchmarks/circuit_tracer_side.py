"""circuit-tracer's part of `trace_peers.py`: run by it under an interpreter that has that library; needs nothing of lmscope.

PYTHON circuit_tracer_side.py FOLDER '{"tokens": [...], "token": 20, "nodes": null, "rounds": 3, ...}'
"""

import gc
import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402 - warnings must be off before
import torch  # noqa: E402
from circuit_tracer.attribution.attribute import attribute  # noqa: E402
from circuit_tracer.replacement_model.replacement_model_transformerlens import (  # noqa: E402
    TransformerLensReplacementModel,
)
from circuit_tracer.transcoder.activation_functions import TopK  # noqa: E402
from circuit_tracer.transcoder.single_layer_transcoder import (  # noqa: E402
    SingleLayerTranscoder,
    TranscoderSet,
)
from safetensors.torch import load_file  # noqa: E402
from transformer_lens import HookedTransformerConfig  # noqa: E402
from transformer_lens.pretrained.weight_conversions import convert_llama_weights  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402


def load(folder, k):
    """The replacement model of the same weights."""
    values = json.loads((folder / "config.json").read_text())
    hf = LlamaForCausalLM(LlamaConfig(**values))
    hf.load_state_dict(load_file(folder / "model.safetensors"))
    cfg = HookedTransformerConfig(
        n_layers=values["num_hidden_layers"],
        d_model=values["hidden_size"],
        n_ctx=values["max_position_embeddings"],
        d_head=values["head_dim"],
        n_heads=values["num_attention_heads"],
        n_key_value_heads=values["num_key_value_heads"],
        d_mlp=values["intermediate_size"],
        d_vocab=values["vocab_size"],
        act_fn=values["hidden_act"],
        eps=values["rms_norm_eps"],
        normalization_type="RMS",
        positional_embedding_type="rotary",
        rotary_dim=values["head_dim"],
        rotary_base=values["rope_theta"],
        rotary_adjacent_pairs=False,
        final_rms=True,
        gated_mlp=True,
        original_architecture="LlamaForCausalLM",
        model_name="miniature",
        device="cpu",
        dtype=torch.float32,
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    model = TransformerLensReplacementModel(cfg)
    model.tokenizer = tokenizer
    model.load_and_process_state_dict(
        convert_llama_weights(hf, cfg),
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    del hf
    model._configure_replacement_model(transcoders(folder, values, k))
    return model


def transcoders(folder, values, k):
    """One of each layer."""
    found = {}
    for layer in range(values["num_hidden_layers"]):
        tensors = load_file(folder / f"transcoder-{layer}.safetensors")
        n_latents, width = tensors["W_enc"].shape
        one = SingleLayerTranscoder(
            width, n_latents, TopK(k), layer, device=torch.device("cpu"), dtype=torch.float32
        )
        one.load_state_dict({n: tensors[n] for n in ("W_enc", "b_enc", "W_dec", "b_dec")})
        found[layer] = one
    return TranscoderSet(found, "mlp.hook_in", "mlp.hook_out", scan="random")


def peak_mib():
    rows = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    return int(rows["VmHWM"].split()[0]) / 1024


def main():
    folder, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(asked["threads"])
    model = load(folder, asked["k"])
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_mib()
    now = time.process_time if asked["clock"] == "cpu" else time.perf_counter
    times, graph = [], None
    for _ in range(asked["rounds"]):
        graph = None
        gc.collect()
        start = now()
        graph = attribute(
            torch.tensor(asked["tokens"]),
            model,
            attribution_targets=torch.tensor([asked["token"]]),
            batch_size=asked["batch"],
            max_feature_nodes=asked["nodes"],
        )
        times.append((now() - start) * 1e3)
    peak = peak_mib()
    if asked["edges"]:
        np.savez(
            asked["edges"],
            features=graph.active_features.numpy(),
            selected=graph.selected_features.numpy(),
            matrix=graph.adjacency_matrix.numpy(),
        )
    print(
        json.dumps(
            {
                "library": f"circuit-tracer {version('circuit-tracer')}",
                "torch": torch.__version__,
                "ms": times,
                "n_active": len(graph.active_features),
                "n_features": len(graph.selected_features),
                "loaded_mib": before,
                "peak_mib": peak,
            }
        )
    )


if __name__ == "__main__":
    main()
