"""Read an adapter's `manifest.json`, if there is one, and check the base and the hashes of the files in it."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from inference.errors import AdapterRefused

MANIFEST = "manifest.json"
_MOST_BYTES = 16 << 20
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # a revision of the hub, or a fingerprint


class _File(BaseModel):
    name: str
    sha256: str


class _Artifact(BaseModel):
    folder: str
    files: list[_File]


class _Base(BaseModel):
    fingerprint: str | None = None
    revision: str | None = None


class Manifest(BaseModel):
    """The fields that this module reads."""

    base: _Base
    artifact: _Artifact

    @property
    def bases(self) -> set[str]:
        """The base's fingerprint, and its revision on the hub."""
        return hashes(self.base.fingerprint, self.base.revision)

    def check(self, contents: Mapping[str, bytes]) -> None:
        """Raise AdapterRefused if a file differs from the trained one."""
        known = {file.name: file.sha256 for file in self.artifact.files}
        for name, content in contents.items():
            if hashlib.sha256(content).hexdigest() != known.get(name):
                raise AdapterRefused(f"{name} is not the file that {MANIFEST} describes: fetch the adapter again")


def hashes(*names: str | None) -> set[str]:
    """The entries that identify a base by its content, rather than by a branch's name."""
    return {name for name in names if name and _HASH.fullmatch(name)}


def manifest_of(folder: Path, within: Path | None) -> Manifest | None:
    """Read the manifest in or beside an adapter's folder; None unless one describes this folder.

    Reads nothing outside the optional folder `within`. Raises AdapterRefused if the file is far too long.
    """
    for path in (folder / MANIFEST, folder.parent / MANIFEST):
        if not path.is_file() or not (within is None or path.resolve().is_relative_to(within)):
            continue
        if path.stat().st_size > _MOST_BYTES:
            raise AdapterRefused(f"{MANIFEST} has more than {_MOST_BYTES} bytes")
        try:
            found = Manifest.model_validate_json(path.read_bytes())
        except ValidationError:  # another program's file of that name
            continue
        if path.parent == folder or found.artifact.folder == folder.name:
            return found
    return None
