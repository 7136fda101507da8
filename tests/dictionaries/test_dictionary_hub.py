"""Dictionaries on the hub, against a stand-in for the network: what is asked of it, and its failures."""

import json
from fnmatch import fnmatch
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors

from lmscope.core.errors import ArtifactError
from lmscope.dictionaries.card import Provenance
from lmscope.dictionaries.config import JumpReLU
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.hub import HubPlace, fetch


def failure(kind, status):
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    return kind("it failed", response=response)


class Hub:
    """Repositories as folders on disk; `error` is raised instead of an answer."""

    def __init__(self, root):
        self.root, self.error, self.asked, self.sent = root, None, [], {}

    def snapshot_download(self, repository, *, revision, allow_patterns):
        self.asked.append((repository, revision))
        if self.error is not None:
            raise self.error
        source, target = self.root / "repos" / repository, self.root / "cache" / repository
        for file in sorted(source.rglob("*")):
            name = file.relative_to(source).as_posix()
            if file.is_file() and any(fnmatch(name, p) for p in allow_patterns):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (target / name).write_bytes(file.read_bytes())
        target.mkdir(parents=True, exist_ok=True)
        return str(target)

    def list_repo_files(self, repository, revision=None):
        source = self.root / "repos" / repository
        return [f.relative_to(source).as_posix() for f in source.rglob("*") if f.is_file()]

    def fetched(self, repository):
        root = self.root / "cache" / repository
        return sorted(f.relative_to(root).as_posix() for f in root.rglob("*") if f.is_file())


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path)

    class Api:
        def __init__(self, token=None):
            hub.sent["token"] = token

        def list_repo_files(self, repository, revision=None):
            return hub.list_repo_files(repository, revision)

        def create_repo(self, repository, *, private, exist_ok):
            if hub.error is not None:
                raise hub.error
            hub.sent |= {"repository": repository, "private": private, "exist_ok": exist_ok}
            return f"https://huggingface.co/{repository}"

        def upload_folder(self, *, repo_id, folder_path, path_in_repo, revision, commit_message):
            files = {p.name: p.read_bytes() for p in folder_path.iterdir()}
            hub.sent |= {"repo_id": repo_id, "files": files, "path": path_in_repo}

    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return hub


@pytest.fixture
def published(hub, make_dictionary):
    """Two dictionaries in one repository, and files that nobody needs."""
    dictionary = make_dictionary(JumpReLU(), dtype=torch.float32)
    for layer in (3, 4):
        dictionary.save(hub.root / f"repos/owner/suite/layer_{layer}")
    (hub.root / "repos/owner/suite/optimizer.pt").write_bytes(b"large")
    (hub.root / "repos/owner/suite/layer_3/examples.safetensors").write_bytes(b"large")
    return dictionary


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("owner/repo", ("owner/repo", None, None)),
        ("hf:owner/repo", ("owner/repo", None, None)),
        ("owner/repo@main", ("owner/repo", None, "main")),
        ("hf:o/r/a/b.c@refs/pr/1", ("o/r", "a/b.c", "refs/pr/1")),
        ("o/r/a/", ("o/r", "a", None)),
    ],
)
def test_a_name_says_repository_folder_and_revision(text, place):
    assert tuple(HubPlace.parse(text)) == place
    assert HubPlace.parse(str(HubPlace.parse(text))) == HubPlace.parse(text)


@pytest.mark.parametrize("text", ["word", "a/b/../c", "a b/c", ""])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(ArtifactError, match="no name on the hub"):
        HubPlace.parse(text)


def test_only_the_files_of_the_sub_folder_are_fetched(hub, published):
    read = Dictionary.from_pretrained("owner/suite", subfolder="layer_3", revision="v1")
    assert torch.equal(read.W_enc, published.W_enc)
    assert hub.asked == [("owner/suite", "v1")]
    assert hub.fetched("owner/suite") == [
        "layer_3/README.md",
        "layer_3/config.json",
        "layer_3/manifest.json",
        "layer_3/weights.safetensors",
    ]


def test_the_whole_tree_is_fetched_when_asked_for(hub, published):
    fetch(HubPlace("owner/suite"), whole=True)
    folders = {name.partition("/")[0] for name in hub.fetched("owner/suite")}
    assert folders == {"layer_3", "layer_4"}
    assert not any("optimizer" in n or "examples" in n for n in hub.fetched("owner/suite"))


def test_a_repository_of_many_names_its_folders(hub, published):
    with pytest.raises(ArtifactError, match=r"at its top: name .*layer_3, layer_4"):
        Dictionary.from_pretrained("owner/suite")
    with pytest.raises(ArtifactError, match=r"in 'layr_3'.*Did you mean layer_3, layer_4"):
        Dictionary.from_pretrained("owner/suite", subfolder="layr_3")


def test_half_downloaded_weights_are_one_sentence(hub, published):
    path = hub.root / "repos/owner/suite/layer_3/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="is damaged: it has"):
        Dictionary.from_pretrained("owner/suite/layer_3")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (failure(errors.RepositoryNotFoundError, 404), "no repository on the hub that you may see"),
        (failure(errors.RevisionNotFoundError, 404), "has no revision 'v9' on the hub"),
        (failure(errors.GatedRepoError, 403), "is gated: accept its terms on"),
        (errors.LocalEntryNotFoundError("x"), r"the hub cannot be asked \(LocalEntryNotFound"),
        (failure(errors.HfHubHTTPError, 503), "status 503"),
        (errors.HFValidationError("x"), "is no name on the hub"),
        (ConnectionError("no route"), r"cannot be asked \(ConnectionError\): go online"),
    ],
)
def test_a_failure_of_the_hub_is_one_sentence(hub, error, said):
    hub.error = error
    with pytest.raises(ArtifactError, match=said) as caught:
        Dictionary.from_pretrained("owner/suite@v9")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_is_pushed_is_the_native_folder_with_its_card(hub, make_dictionary, tmp_path):
    dictionary = make_dictionary(JumpReLU(), dtype=torch.float32)
    known = Provenance(text="A corpus", tokens=1_500_000)
    address = dictionary.push_to_hub(
        "owner/new", private=True, subfolder="l3", token="secret", provenance=known
    )
    assert address == "https://huggingface.co/owner/new"
    sent = hub.sent
    assert (sent["repository"], sent["private"], sent["exist_ok"]) == ("owner/new", True, True)
    assert (sent["path"], sent["token"], sent["repo_id"]) == ("l3", "secret", "owner/new")
    assert b"1,500,000" in sent["files"]["README.md"]
    again = tmp_path / "again"
    again.mkdir()
    for name, content in sent["files"].items():
        (again / name).write_bytes(content)
    assert torch.equal(Dictionary.load(again).W_dec, dictionary.W_dec)
    assert json.loads(sent["files"]["config.json"])["reads"] == ["resid_post@3"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (failure(errors.HfHubHTTPError, 403), "You may not write to 'owner/new'"),
        (errors.LocalTokenNotFoundError("x"), "The hub needs to know you"),
        (ConnectionError("no route"), "Nothing certain came of writing"),
    ],
)
def test_a_push_that_fails_is_one_sentence(hub, make_dictionary, error, said):
    hub.error = error
    with pytest.raises(ArtifactError, match=said):
        make_dictionary(JumpReLU(), dtype=torch.float32).push_to_hub("owner/new")


def test_a_push_needs_a_plain_repository(make_dictionary):
    with pytest.raises(ArtifactError, match="must be owner/repo"):
        make_dictionary(JumpReLU()).push_to_hub("owner/new/sub")


def test_the_stand_in_has_the_signatures_of_the_network(tmp_path):
    """A stand-in that takes what the library does not would prove nothing."""
    import inspect

    from huggingface_hub import HfApi
    from huggingface_hub import snapshot_download as real

    known = SimpleNamespace(
        download=set(inspect.signature(real).parameters),
        create=set(inspect.signature(HfApi.create_repo).parameters),
        upload=set(inspect.signature(HfApi.upload_folder).parameters),
    )
    assert {"revision", "allow_patterns"} <= known.download
    assert {"private", "exist_ok"} <= known.create
    assert {"repo_id", "folder_path", "path_in_repo", "revision", "commit_message"} <= known.upload
