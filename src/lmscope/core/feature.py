"""FeatureId: one latent of one dictionary, as a value that every package can hold."""

from dataclasses import dataclass
from functools import total_ordering

from lmscope.core.errors import ArtifactError


@total_ordering
@dataclass(frozen=True, slots=True)
class FeatureId:
    """One latent of one dictionary, written `dictionary/latent` (`resid_post-14-4608x/17`)."""

    dictionary: str
    latent: int

    @classmethod
    def parse(cls, text: str) -> "FeatureId":
        """Read `dictionary/latent`.

        Raises:
            ArtifactError: The text has another form.
        """
        dictionary, _, latent = text.rpartition("/")
        if not dictionary or not (latent.isascii() and latent.isdecimal()):
            raise ArtifactError(
                f"'{text}' is not a feature: write dictionary/latent, e.g. 'resid_post-14/17'."
            )
        return cls(dictionary, int(latent))

    def __str__(self) -> str:
        return f"{self.dictionary}/{self.latent}"

    def __lt__(self, other: "FeatureId") -> bool:
        if not isinstance(other, FeatureId):
            return NotImplemented
        return (self.dictionary, self.latent) < (other.dictionary, other.latent)
