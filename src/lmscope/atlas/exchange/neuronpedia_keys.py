"""The columns of Neuronpedia's tables, as its exporters write them."""

from typing import Final

TABLES: Final = ("features", "activations", "explanations")
"""Tables of many rows, in the order of import: rows of the later ones refer to features."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEYS: Final = {
    "release": _words(
        """name description descriptionShort creatorName creatorNameShort creatorId urls visibility
        isNewUi featured creatorEmail defaultSourceSetName defaultSourceId defaultUmapSourceIds createdAt"""
    ),
    "model": _words(
        """id instruct creatorId displayName displayNameShort tlensId dimension visibility
        defaultSourceSetName defaultSourceId inferenceEnabled layers neuronsPerLayer owner website
        createdAt updatedAt"""
    ),
    "sourceset": _words(
        """modelId name creatorId hasDashboards visibility description type creatorName urls
        creatorEmail releaseName defaultOfModelId defaultRange defaultShowBreaks showDfa showCorrelated
        showHeadAttribution showUmap createdAt"""
    ),
    "source": _words(
        """id modelId setName creatorId hasDashboards inferenceEnabled inferenceHosts saelensConfig
        saelensRelease saelensSaeId hfRepoId hfFolderId visibility defaultOfModelId hasUmap
        hasUmapLogSparsity hasUmapClusters num_prompts num_tokens_in_prompt dataset notes createdAt"""
    ),
    "features": _words(
        """modelId layer index creatorId createdAt maxActApprox hasVector vector vectorLabel
        vectorDefaultSteerStrength hookName topkCosSimIndices topkCosSimValues neuron_alignment_indices
        neuron_alignment_values neuron_alignment_l1 correlated_neurons_indices correlated_neurons_pearson
        correlated_neurons_l1 correlated_features_indices correlated_features_pearson
        correlated_features_l1 neg_str neg_values pos_str pos_values frac_nonzero
        freq_hist_data_bar_heights freq_hist_data_bar_values logits_hist_data_bar_heights
        logits_hist_data_bar_values decoder_weights_dist sourceSetName"""
    ),
    "activations": _words(
        """id tokens values modelId layer index maxValue maxValueTokenIndex minValue creatorId createdAt
        dataSource dataIndex dfaValues dfaTargetIndex dfaMaxValue lossValues logitContributions binMin
        binMax binContains qualifyingTokenIndex zIndices zValues"""
    ),
    "explanations": _words(
        """id modelId layer index description authorId embedding triggeredById typeName
        explanationModelName notes createdAt"""
    ),
}
"""Every key that a line must have."""

PAIRED_LISTS: Final = (
    ("topkCosSimIndices", "topkCosSimValues"),
    ("neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1"),
    ("correlated_neurons_indices", "correlated_neurons_pearson", "correlated_neurons_l1"),
    ("correlated_features_indices", "correlated_features_pearson", "correlated_features_l1"),
    ("neg_str", "neg_values"),
    ("pos_str", "pos_values"),
    ("freq_hist_data_bar_heights", "freq_hist_data_bar_values"),
    ("logits_hist_data_bar_heights", "logits_hist_data_bar_values"),
)
"""Columns that hold one value for each of the same things."""

LISTS: Final = {
    "features": frozenset(name for names in PAIRED_LISTS for name in names)
    | {"vector", "decoder_weights_dist"},
    "activations": frozenset({"tokens", "values", "dfaValues", "lossValues"}),
}
