import gzip
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest

from lmscope.atlas.exchange.circuit_tracer import write_circuit_tracer
from lmscope.core.errors import ArtifactError, RecipeError


class Page:
    """The reading side, step by step as circuit-tracer's page does it over HTTP ranges."""

    def __init__(self, folder):
        self.folder = folder
        self.index = json.loads(gzip.decompress((folder / "index.json.gz").read_bytes()))

    def load(self, feature_id):
        # cantorUnpair of util.js
        w = int((np.sqrt(8 * feature_id + 1) - 1) // 2)
        latent = feature_id - (w * w + w) // 2
        layer = self.index[str(w - latent)]
        start, end = layer["offsets"][latent], layer["offsets"][latent + 1]
        # An HTTP range holds its last byte too, so one byte too many arrives.
        data = (self.folder / layer["filename"]).read_bytes()[start : end + 1]
        length = data[0] | data[1] << 8 | data[2] << 16 | data[3] << 24
        return json.loads(zlib.decompress(data[4 : 4 + length]))


def cantor(layer, latent):
    return (layer + latent) * (layer + latent + 1) // 2 + latent


def merged(tokens):
    """Its `mergeHexEscapedMax`: up to five tokens with escapes become one once they are UTF-8."""

    def as_bytes(token):
        parts = re.findall(r"\\x[0-9a-f]{2}|.", token, re.DOTALL)
        return b"".join(
            bytes([int(p[2:], 16)]) if re.fullmatch(r"\\x[0-9a-f]{2}", p) else p.encode()
            for p in parts
        )

    found, i = [], 0
    while i < len(tokens):
        data = as_bytes(tokens[i])
        for j in range(
            i + 1, min(i + 5, len(tokens)) if re.search(r"\\x[0-9a-f]{2}", tokens[i]) else i
        ):
            data += as_bytes(tokens[j])
            try:
                found.append(data.decode())
            except UnicodeDecodeError:
                continue
            i = j
            break
        else:
            found.append(tokens[i])
        i += 1
    return found


def test_the_page_finds_each_latent_by_its_feature_id(content, tmp_path):
    write_circuit_tracer([content], tmp_path / "features")
    page = Page(tmp_path / "features")
    assert len(page.index["3"]["offsets"]) == content.meta.n_latents + 1
    for latent in range(content.meta.n_latents):
        assert page.load(cantor(3, latent))["index"] == latent


def test_a_feature_has_the_fields_of_the_page(content, tmp_path):
    write_circuit_tracer([content], tmp_path / "features")
    record = next(e.record for e in content.entries() if e.record.latent == 1)
    feature = Page(tmp_path / "features").load(cantor(3, 1))
    assert (feature["act_min"], feature["act_max"]) == (0, record.max)
    assert feature["activation_frequency"] == record.density
    assert len(feature["top_logits"]) == 3
    assert [q["quantile_name"] for q in feature["examples_quantiles"]] == [
        "Top activations",
        "Subsample interval 1.5 to 3 (50%)",
        "Subsample interval 0.3 to 1.2 (50%)",
    ]
    first, example = feature["examples_quantiles"][0]["examples"][0], record.groups[0].examples[0]
    assert first["tokens_acts_list"] == example.activations().tolist()
    assert first["tokens_acts_list"][first["train_token_ind"]] == example.max
    assert len(first["tokens"]) == example.length


def test_the_page_puts_split_characters_together(content, tmp_path):
    write_circuit_tracer([content], tmp_path / "features")
    feature = Page(tmp_path / "features").load(cantor(3, 1))
    tokens = feature["examples_quantiles"][0]["examples"][0]["tokens"]
    assert tokens[3:8] == [" the", "\\xe2", "\\x80", "\\x99", "s"]
    assert "\u2019" in merged(tokens)


def test_the_linear_histogram_keeps_every_firing(content, tmp_path):
    write_circuit_tracer([content], tmp_path / "features")
    record = next(e.record for e in content.entries() if e.record.latent == 5)
    feature = Page(tmp_path / "features").load(cantor(3, 5))
    assert sum(feature["histogram"]) == pytest.approx(sum(record.histogram))
    # The upper half of the activations lies in the last octave: 32 bins / 10 octaves = 3.2 bins.
    upper = (
        record.histogram[29] + record.histogram[30] + record.histogram[31] + part_of_bin_28(record)
    )
    assert sum(feature["histogram"][25:]) == pytest.approx(upper)
    assert feature["quantile_values"] == sorted(feature["quantile_values"])
    assert 0 < feature["quantile_values"][0] < feature["quantile_values"][98] < record.max


def part_of_bin_28(record):
    """Bin 28 ends at max / 2^(10 - 29 * 10 / 32) and begins a tenth of an octave below max / 2."""
    low, high = 2 ** (-10 + 28 * 10 / 32), 2 ** (-10 + 29 * 10 / 32)
    return record.histogram[28] * (high - 0.5) / (high - low)


def test_only_labels_that_are_known_go_along(content, tmp_path):
    write_circuit_tracer([content], tmp_path / "features")
    page = Page(tmp_path / "features")
    assert page.load(cantor(3, 1))["label"] == "the word </script> cat"
    assert "label" not in page.load(cantor(3, 2))


def test_dead_latents_have_no_examples_and_no_histogram(content, tmp_path):
    write_circuit_tracer([content], tmp_path / "features")
    feature = Page(tmp_path / "features").load(cantor(3, 0))
    assert (feature["examples_quantiles"], feature["histogram"]) == ([], [])
    assert feature["activation_frequency"] == 0


def test_several_layers_share_an_index(content, meta, tmp_path):
    config = meta.dictionary_config | {"reads": ["resid_post@4"], "writes": ["resid_post@4"]}
    other = replace(content, meta=meta.model_copy(update={"dictionary_config": config}))
    write_circuit_tracer([other, content], tmp_path / "features")
    page = Page(tmp_path / "features")
    assert list(page.index) == ["3", "4"]
    assert page.load(cantor(4, 5))["index"] == 5
    with pytest.raises(RecipeError, match="Two atlases of layer 3"):
        write_circuit_tracer([content, content], tmp_path / "again")
    with pytest.raises(ArtifactError, match="exists already"):
        write_circuit_tracer([content], tmp_path / "features")


def test_a_site_without_a_layer_is_refused(content, meta, tmp_path):
    config = meta.dictionary_config | {"reads": ["final"], "writes": ["final"]}
    final = replace(content, meta=meta.model_copy(update={"dictionary_config": config}))
    with pytest.raises(RecipeError, match="'final' has no layer"):
        write_circuit_tracer([final], tmp_path / "features")
