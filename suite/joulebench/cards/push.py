"""Upload of a card to a model repository on the Hugging Face hub, in one commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RemoteEntryNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from joulebench.errors import InputError
from joulebench.spec.reading import read_text
from joulebench.spec.toml import MAX_BYTES

README = "README.md"
#: Any error of the client's HTTP library, which is another one by the client's version.
_HTTPError: type[Exception] = HfHubHTTPError.__bases__[0]


def check_repo(repo: str) -> None:
    """Refuse a name that no repository can have.

    Raises:
        InputError: not a repository's name.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise InputError("--push: must be the name of a model repository, OWNER/NAME") from None


def push(repo: str, merge: Callable[[str], str], files: Mapping[str, str]) -> None:
    """Commit README.md, merged with the one that is there, and further files by path.

    The commit is refused by the hub where somebody else's came between reading and writing.

    Raises:
        InputError: the hub cannot be reached or refuses. The message holds no text of the request: no token.
    """
    api = HfApi()
    try:
        head = api.model_info(repo).sha
        try:
            before = read_text(Path(api.hf_hub_download(repo, README, revision=head)), MAX_BYTES, follow=True)
        except RemoteEntryNotFoundError:  # the hub says so; a lost connection must not look like an absent file
            before = ""
        contents = {README: merge(before), **files}
        api.create_commit(
            repo,
            [CommitOperationAdd(path, text.encode()) for path, text in contents.items()],
            commit_message="Energy card by joulebench",
            parent_commit=head,
        )
    except (_HTTPError, OSError, ValueError) as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        why = type(error).__name__ + (f", status {status}" if status else "")
        raise InputError(f"--push: {repo} was not written to ({why})") from None
