import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import ArtifactError
from lmscope.core.feature import FeatureId


@given(st.text(min_size=1), st.integers(0))
def test_a_feature_survives_being_written_and_read(dictionary, latent):
    feature = FeatureId(dictionary, latent)
    assert FeatureId.parse(str(feature)) == feature


@pytest.mark.parametrize("text", ["", "a", "a/", "/3", "a/-1", "a/x", "a/٣"])
def test_what_is_no_feature_says_so(text):
    with pytest.raises(ArtifactError, match="is not a feature"):
        FeatureId.parse(text)


def test_latents_are_ordered_by_number():
    assert FeatureId("a", 9) < FeatureId("a", 10) < FeatureId("b", 0)
