"""Dictionaries on the Hugging Face hub: only the files of one, or of a folder of many, are fetched."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from lmscope.core.errors import ArtifactError, LmscopeError

FILES: Final = (
    *("manifest.json", "config.json", "cfg.json", "hyperparams.json", "lm_config.json"),
    *("weights.safetensors", "sae_weights.safetensors", "sae.safetensors", "params.safetensors"),
    *("checkpoints/final.safetensors", "checkpoints/pruned.safetensors", "params.npz", "ae.pt"),
    *("activation_scaler.json", "config.yaml", "wandb-config.yaml", "wanb-config.yaml"),
    *(f"layer_{'[0-9]' * digits}.safetensors" for digits in (1, 2, 3)),
    "README.md",
)
"""What a dictionary of any known format may need; nothing else of a repository is fetched."""

_NAME: Final = re.compile(
    r"(?:hf:)?(?P<repository>[\w.-]+/[\w.-]+)(?:/(?P<sub>[^@]+?))?/?(?:@(?P<revision>[\w./-]+))?",
    re.ASCII,
)


class HubPlace(NamedTuple):
    """A dictionary, or a folder of many, on the hub."""

    repository: str
    subfolder: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubPlace":
        """Read `owner/repo[/sub/folder][@revision]`, with or without `hf:` in front.

        Raises:
            ArtifactError: The text has another form.
        """
        match = _NAME.fullmatch(text)
        if match is None or ".." in text.split("/"):
            raise ArtifactError(
                f"'{text}' is no folder here, and no name on the hub: that is owner/repo, with "
                "/sub/folder and @revision where needed."
            )
        return cls(match["repository"], match["sub"], match["revision"])

    def __str__(self) -> str:
        sub = f"/{self.subfolder}" if self.subfolder else ""
        return f"{self.repository}{sub}{'@' + self.revision if self.revision else ''}"


def fetch(place: HubPlace, *, whole: bool = False) -> Path:
    """The folder of a dictionary in Hugging Face's own cache, fetched when it is not there.

    Args:
        place: Where it is.
        whole: Fetch the dictionaries of every folder below too.

    Raises:
        ArtifactError: No such repository, revision or sub-folder, it is gated, or there is no
            network and no copy.
    """
    from huggingface_hub import snapshot_download

    prefix = f"{place.subfolder}/" if place.subfolder else ""
    patterns = [f"{prefix}{name}" for name in FILES]
    if whole:
        patterns += [f"{prefix}*/{name}" for name in FILES]
    with _explained(place):
        snapshot = snapshot_download(
            place.repository, revision=place.revision, allow_patterns=patterns
        )
    folder = Path(snapshot) / (place.subfolder or "")
    if not folder.is_dir() or not any(folder.iterdir()):
        raise ArtifactError(_nothing_there(place))
    return folder


def folders(place: HubPlace) -> list[str]:
    """Folders of a repository in which files of a dictionary lie; empty if the hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        with _explained(place):
            names = HfApi().list_repo_files(place.repository, revision=place.revision)
    except ArtifactError:
        return []
    plain = {name for name in FILES if "/" not in name and name != "README.md"}
    paths = [Path(name) for name in names]
    return sorted({path.parent.as_posix() for path in paths if path.name in plain} - {"."})


def push(folder: Path, place: HubPlace, *, private: bool, token: str | None) -> str:
    """Upload a folder, making the repository if need be.

    Returns:
        The address of the repository.

    Raises:
        ArtifactError: The name is wrong, there is no right to write, or no network.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with _explained(place, writing=True):
        made = api.create_repo(place.repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=place.repository,
            folder_path=folder,
            path_in_repo=place.subfolder,
            revision=place.revision,
            commit_message="Add a dictionary",
        )
    return str(made)


@contextmanager
def _explained(place: HubPlace, *, writing: bool = False) -> Iterator[None]:
    """Failures of the hub as one sentence each."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository = place.repository
    try:
        yield
    except LmscopeError:
        raise
    except GatedRepoError:
        raise ArtifactError(
            f"'{repository}' is gated: accept its terms on https://huggingface.co/{repository}, then log in "
            "with `hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise ArtifactError(
            f"'{repository}' has no revision '{place.revision}' on the hub."
        ) from None
    except RepositoryNotFoundError:
        raise ArtifactError(
            f"'{repository}' is no folder here and no repository on the hub that you may see; a private one "
            "needs `hf auth login`."
        ) from None
    except HFValidationError:
        raise ArtifactError(
            f"'{repository}' is no name on the hub: that is owner/repo in letters, digits, '-', '_' and '.'."
        ) from None
    except LocalTokenNotFoundError:
        raise ArtifactError(
            "The hub needs to know you: log in with `hf auth login`, or give a token."
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ArtifactError(_unreachable(repository, error, writing=writing)) from None


def _unreachable(repository: str, error: Exception, *, writing: bool) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if writing and status in (401, 403):
        return f"You may not write to '{repository}': log in with `hf auth login` as one who may, or give a token."
    reason = type(error).__name__ if status is None else f"{type(error).__name__}, status {status}"
    if writing:
        return f"Nothing certain came of writing to '{repository}' ({reason}): look on the hub, then try again."
    return (
        f"'{repository}' is no folder here, lies not whole in the cache, and the hub cannot be asked "
        f"({reason}): go online, or give the path of a folder."
    )


def _nothing_there(place: HubPlace) -> str:
    from lmscope.core.errors import did_you_mean

    found = folders(place)
    if place.subfolder is None:
        some = f": name one of its folders, e.g. {', '.join(found[:3])}" if found else ""
        return f"'{place.repository}' holds no dictionary at its top{some}."
    near = did_you_mean(place.subfolder, found)
    return (
        f"'{place.repository}' has no dictionary in '{place.subfolder}', or it is not in the cache."
        f"{near}"
    )
