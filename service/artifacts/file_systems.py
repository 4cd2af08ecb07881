"""The artifact store: keeps files of trainings in a local folder, S3 or Google Cloud Storage (docs/decisions/0034)."""

import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from anyio import to_thread
from pyarrow import fs

from service.errors import ArtifactMissing, ArtifactsUnavailable
from service.identifiers import JobId
from service.records.trainings import Artifact, ArtifactFile

_PART_BYTES = 1_000_000
_PATH_PARTS = 3  # of a file: owner, SHA-256, name

Result = TypeVar("Result")


class FileSystemArtifacts:
    """Artifacts in a file system of `pyarrow.fs`, as `<training>/<SHA-256>/<file>`.

    `place` is a path or a URL such as `s3://bucket/folder`; the first use connects to it.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    async def put(self, owner: JobId, folder: Path) -> Artifact:
        """Store a folder's files. Raises ArtifactsUnavailable."""
        return await self._run(lambda: self._put(owner, folder))

    async def files(self, owner: JobId, sha256: str) -> list[ArtifactFile]:
        """The files of an artifact, sorted by name. Raises ArtifactsUnavailable, ArtifactMissing."""
        return await self._run(lambda: self._files(owner, sha256))

    async def read(self, owner: JobId, sha256: str, name: str) -> AsyncGenerator[bytes, None]:
        """The bytes of one file, in parts. Raises ArtifactsUnavailable, ArtifactMissing."""
        stream = await self._run(lambda: self._file_system.open_input_stream(f"{owner}/{sha256}/{name}"))
        try:
            while part := await self._run(lambda: stream.read(_PART_BYTES)):
                yield part
        finally:
            stream.close()

    async def fetch(self, owner: JobId, sha256: str, folder: Path) -> None:
        """Write the files of an artifact into a folder. Raises ArtifactsUnavailable, ArtifactMissing."""
        await self._run(lambda: self._fetch(owner, sha256, folder))

    async def remove(self, owner: JobId, sha256: str | None = None) -> None:
        """Delete an artifact, or all artifacts of its owner. Raises ArtifactsUnavailable."""
        await self._run(lambda: self._remove(owner if sha256 is None else f"{owner}/{sha256}"))

    async def stored(self) -> Mapping[JobId, frozenset[str]]:
        """The stored artifacts by owner, incomplete ones among them. Raises ArtifactsUnavailable."""
        return await self._run(self._stored)

    @cached_property
    def _file_system(self) -> Any:
        """The file system with `place` as its root."""
        if "://" in self._place:
            file_system, path = fs.FileSystem.from_uri(self._place)
        else:
            file_system, path = fs.LocalFileSystem(), str(Path(self._place).expanduser().absolute())
        try:
            file_system.create_dir(path, recursive=True)
        except FileNotFoundError as error:
            raise OSError(f"{path} cannot be made") from error
        return fs.SubTreeFileSystem(path, file_system)

    async def _run(self, work: Callable[[], Result]) -> Result:
        """Run blocking `work` in a thread, and turn its errors into `service.errors`."""
        try:
            return await to_thread.run_sync(work)
        except FileNotFoundError as error:
            raise ArtifactMissing("the files of this training are not where they were stored") from error
        except (OSError, ValueError) as error:  # ValueError: an unreadable URL
            reason = " ".join(str(error).split())
            raise ArtifactsUnavailable(f"the files of trainings cannot be reached: {reason}") from error

    def _put(self, owner: JobId, folder: Path) -> Artifact:
        files = sorted(
            (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()), key=os.fsencode
        )
        hashes = {name: sha256_of(folder / name) for name in files}
        sha256 = content_sha256(hashes)
        sizes = self._sizes(f"{owner}/{sha256}")
        for name in files:
            if sizes.get(name) != (folder / name).stat().st_size:
                self._write(folder / name, f"{owner}/{sha256}/{name}")
        return Artifact(sha256, sum((folder / name).stat().st_size for name in files))

    def _write(self, source: Path, path: str) -> None:
        self._file_system.create_dir(str(PurePosixPath(path).parent), recursive=True)
        with source.open("rb") as file, self._file_system.open_output_stream(path) as stream:
            while part := file.read(_PART_BYTES):
                stream.write(part)
        base = self._file_system.base_fs
        if isinstance(base, fs.LocalFileSystem):  # an object store is durable once the stream is closed
            _flush_to_disk(Path(self._file_system.base_path) / path)

    def _sizes(self, path: str) -> dict[str, int]:
        """The sizes of the files below a path, by name; empty if the path does not exist."""
        selector = fs.FileSelector(path, recursive=True, allow_not_found=True)
        found = [info for info in self._file_system.get_file_info(selector) if info.type is fs.FileType.File]
        return {info.path.removeprefix(f"{path}/"): info.size for info in found}

    def _files(self, owner: JobId, sha256: str) -> list[ArtifactFile]:
        sizes = self._sizes(f"{owner}/{sha256}")
        if not sizes:
            raise FileNotFoundError(sha256)
        return [ArtifactFile(name, sizes[name]) for name in sorted(sizes, key=os.fsencode)]

    def _fetch(self, owner: JobId, sha256: str, folder: Path) -> None:
        staged = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(staged, ignore_errors=True)
        for file in self._files(owner, sha256):
            target = staged / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with (
                self._file_system.open_input_stream(f"{owner}/{sha256}/{file.name}") as stream,
                target.open("wb") as written,
            ):
                shutil.copyfileobj(stream, written, _PART_BYTES)
        hashes = {file.name: sha256_of(staged / file.name) for file in self._files(owner, sha256)}
        if content_sha256(hashes) != sha256:
            raise ArtifactMissing("the files of this training are not as they were stored")
        staged.rename(folder)

    def _remove(self, path: str) -> None:
        if self._file_system.get_file_info(path).type is not fs.FileType.NotFound:
            self._file_system.delete_dir(path)

    def _stored(self) -> Mapping[JobId, frozenset[str]]:
        found: dict[JobId, set[str]] = defaultdict(set)
        for path in self._sizes(""):
            owner, *rest = path.lstrip("/").split("/", _PATH_PARTS - 1)
            found[JobId(owner)].update(rest[:1])
        return {owner: frozenset(hashes) for owner, hashes in found.items()}


def content_sha256(hashes: Mapping[str, str]) -> str:
    """SHA-256 over the lines that `sha256sum` prints for the files, sorted by their names as bytes."""
    lines = (f"{hashes[name]}  {name}\n" for name in sorted(hashes, key=os.fsencode))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush_to_disk(path: Path) -> None:
    """Flush a file and its folder to disk, so that they survive a power cut."""
    for place, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(place, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
