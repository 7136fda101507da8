"""Models from the Hugging Face hub, as local folders."""

from pathlib import Path

from lmscope.core.errors import ModelError, did_you_mean
from lmscope.models.catalog import CATALOG, HubSource

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.md"]
_UNWANTED = ["*/*", "consolidated*"]


def snapshot(name: str) -> Path:
    """The folder of a hub model, fetched into Hugging Face's own cache when it is not there.

    Only config, safetensors and tokenizer are fetched: never code, never pickles.

    Args:
        name: `owner/model` or `model`, with `@revision` for a branch, tag or commit.

    Raises:
        ModelError: No such model or revision, it is gated, or there is no network and no copy.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, _, revision = name.partition("@")
    near = did_you_mean(name, CATALOG)
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=_WANTED,
                ignore_patterns=_UNWANTED,
            )
        )
    except GatedRepoError:
        raise ModelError(
            f"'{repository}' is gated: accept its terms on https://huggingface.co/{repository}, then log in "
            "with `hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise ModelError(f"'{repository}' has no revision '{revision}' on the hub.") from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"'{name}' is no local folder, no catalog name and no public model on the hub.{near}"
        ) from None
    except HFValidationError:
        raise ModelError(
            f"'{name}' is no local folder, no catalog name and no hub id (owner/model).{near}"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        sources = [model.source for model in CATALOG.values()]
        if any(isinstance(s, HubSource) and s.repository == repository for s in sources):
            raise ModelError(
                f"'{name}' was never fetched to this machine, and the hub cannot be asked "
                f"({type(error).__name__}). Go online once, or give the path of a model folder."
            ) from None
        raise ModelError(
            f"'{name}' is no local folder and no catalog name, and the hub cannot be asked "
            f"({type(error).__name__}).{near} Go online, or give the path of a model folder."
        ) from None
