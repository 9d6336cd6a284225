"""Send an exported folder to the Hugging Face hub, or say what would be sent."""

import re
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from polyrank.errors import AdapterError, RunFolderError, SettingsError

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Push:
    """What is sent, and where to.

    Args:
        repo: ``owner/name`` on the hub.
        private: whether only its owner sees it.
        files: the paths in the folder and their bytes.
        address: of what was sent; None where nothing was.
    """

    repo: str
    private: bool
    files: dict[str, int]
    address: str | None = None

    def __str__(self) -> str:
        """Say in a few lines what was sent, or would be."""
        seen = "private" if self.private else "public"
        total = decimal(sum(self.files.values()))
        if self.address:
            return f"sent: {len(self.files)} files, {total}, to {self.address}"
        lines = [f"would send {total} to {self.repo} ({seen} if it is new):"]
        return "\n".join([*lines, *(f"  {name}  {decimal(n)}" for name, n in self.files.items())])


def push(folder: str | Path, repo: str, *, private: bool = True, dry_run: bool = False) -> Push:
    """Send an exported folder to the Hugging Face hub.

    Whoever is logged in with ``hf auth login``, or has a token in ``HF_TOKEN``, sends it; the
    library ``huggingface_hub`` looks for it.

    Args:
        folder: as ``polyrank.export`` wrote it.
        repo: ``owner/name``; made if it is not there.
        private: whether a new one is seen by its owner alone.
        dry_run: say what would be sent, and send nothing.

    Raises:
        SettingsError: ``repo`` is no such name.
        AdapterError: the folder is no export.
        RunFolderError: the hub cannot be reached, or refuses it.
    """
    path = Path(folder)
    check_repo(repo)
    if not (path / "base.json").is_file() or not (path / "README.md").is_file():
        raise AdapterError(f"{path}: expected a folder of 'polyrank export', got something else")
    found = sorted(file for file in path.rglob("*") if file.is_file())
    files = {str(file.relative_to(path)): file.stat().st_size for file in found}
    if dry_run:
        return Push(repo, private, files)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    from polyrank.hub import can_be_reached

    if not can_be_reached():
        raise RunFolderError(f"{repo}: the Hugging Face hub cannot be reached from here")
    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo, folder_path=path, commit_message="Add a model trained with PolyRank"
        )
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        said = str(error).strip().partition("\n")[0]
        raise RunFolderError(f"{repo}: the Hugging Face hub refuses it: {said}") from error
    return Push(repo, private, files, str(done.commit_url))


def check_repo(repo: str) -> None:
    """Raise SettingsError unless ``repo`` can be a repository's name on the hub."""
    if not _REPO.fullmatch(repo) or len(repo) > 96 or ".." in repo or "--" in repo:
        raise SettingsError(f"push to hub: expected OWNER/NAME of a repository, got {repo!r}")
