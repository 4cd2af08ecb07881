"""Keeps a server's adapters by name: loads them, and frees each unnamed one after its last request."""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from inference.adapters.folder import read_adapter
from inference.errors import AdapterNotFound, AdapterRefused, UnknownModel
from inference.model.language_model import LanguageModel
from inference.model.low_rank import Adapter

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+@/-]{0,199}")


@dataclass(frozen=True, slots=True)
class AdapterLimits:
    """The operator's limits. Without a folder, the server loads and unloads no adapters at run time.

    Where `max_adapters` names are loaded, the next one replaces the least recently used of those loaded at run time.
    """

    folder: Path | None = None
    max_rank: int = 64
    max_adapters: int = 16


@dataclass(frozen=True, slots=True)
class Named:
    """An adapter under a name; `path` is the folder as the request or the operator wrote it.

    `stays`: the operator named it at the start, so no other adapter replaces it.
    """

    name: str
    path: str
    adapter: Adapter
    stays: bool = False


class Adapters:
    """Names of adapters over one language model, used by one thread, except for reading files.

    Adapters of equal content are one adapter under all their names.
    """

    def __init__(self, base: LanguageModel, limits: AdapterLimits | None = None) -> None:
        self.base = base
        self.limits = limits or AdapterLimits()
        self._named: dict[str, Named] = {}
        self._latest: dict[str, None] = {}  # the names in the order of their last use, the latest at the end
        self._users: Counter[str] = Counter()  # running requests, by the adapter's fingerprint
        self._loading = asyncio.Lock()
        self._when_unused: Callable[[Adapter], None] = _nothing

    def when_unused(self, call: Callable[[Adapter], None]) -> None:
        """Set the action that frees an unnamed adapter after its last request."""
        self._when_unused = call

    def listed(self) -> list[Named]:
        """All adapters, in the order of loading."""
        return list(self._named.values())

    @contextmanager
    def using(self, name: str | None) -> Iterator[Adapter | None]:
        """Hold the adapter of that name while the context lasts; None and the base's name mean the base.

        Raises UnknownModel.
        """
        if name in (None, self.base.name):
            yield None
            return
        named = self._named.get(name or "")
        if named is None:
            raise UnknownModel(f"The model `{name}` does not exist.")
        self._note_use(named.name)
        adapter = named.adapter
        self._users[adapter.sha] += 1
        try:
            yield adapter
        finally:
            self._users[adapter.sha] -= 1
            self._let_go(adapter)

    def add(self, name: str, folder: Path) -> None:
        """Read an adapter that the operator names. Raises AdapterNotFound, AdapterRefused."""
        self._check_name(name)
        self._keep(Named(name, str(folder), read_adapter(folder, self.base, self.limits.max_rank), stays=True))

    async def load(self, name: str, path: str) -> None:
        """Read an adapter below the operator's folder while requests run; if there is no room, remove another name.

        Raises the errors of `add`.
        """
        self._check_name(name)
        root = self._root()
        folder = _below(root, path)
        async with self._loading:
            try:
                adapter = await asyncio.to_thread(read_adapter, folder, self.base, self.limits.max_rank, root)
            except AdapterNotFound as error:
                raise AdapterNotFound(f"Loading lora {name} failed: No adapter found for {path}") from error
            self._keep(Named(name, path, adapter))

    def unload(self, name: str) -> None:
        """Remove a name at once; running requests keep the adapter that they started with.

        Raises AdapterNotFound.
        """
        self._root()
        if name not in self._named:
            raise AdapterNotFound(f"The lora adapter '{name}' cannot be found.")
        logger.info("adapter %s unloaded", name)
        self._remove(name)

    def _root(self) -> Path:
        """The operator's folder. Raises AdapterNotFound without one."""
        if self.limits.folder is None:
            raise AdapterNotFound(
                "this server loads and unloads no adapters while it runs; start it with --adapter-folder FOLDER, "
                "the folder that contains them"
            )
        return self.limits.folder.resolve()

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise AdapterRefused(
                f"{name!r} is no name for an adapter: use a letter or digit, then up to 199 of these, . _ : + @ / and -"
            )
        if name == self.base.name:
            raise AdapterRefused(f"{name!r} is the name of the base")
        if name not in self._named and self._is_full() and self._replaceable() is None:
            raise AdapterRefused(
                f"{len(self._named)} adapters are loaded, as many as --max-adapters allows, all of them at the start"
            )

    def _keep(self, new: Named) -> None:
        """Raise AdapterRefused if another adapter has the name."""
        self._check_name(new.name)
        old = self._named.get(new.name)
        if old is None:
            self._make_room()
            equal = (named.adapter for named in self._named.values() if named.adapter.sha == new.adapter.sha)
            self._named[new.name] = replace(new, adapter=next(equal, new.adapter))
            logger.info("adapter %s loaded: rank %d, %s", new.name, new.adapter.rank, new.adapter.sha)
        elif old.adapter.sha != new.adapter.sha:
            raise AdapterRefused(
                f"The lora adapter '{new.name}' has already been loaded, with other content. Choose another name, such "
                "as one with a part of the content's hash, or unload it first."
            )
        self._note_use(new.name)

    def _make_room(self) -> None:
        """At the limit, remove the least recently used name; running requests keep its adapter."""
        if self._is_full() and (name := self._replaceable()) is not None:
            logger.info("adapter %s unloaded to make room: it was least recently used", name)
            self._remove(name)

    def _is_full(self) -> bool:
        return len(self._named) >= self.limits.max_adapters

    def _replaceable(self) -> str | None:
        """The least recently used name of those loaded at run time, if possible one that no request uses."""
        names = [name for name in self._latest if not self._named[name].stays]
        return next((name for name in names if not self._users[self._named[name].adapter.sha]), next(iter(names), None))

    def _note_use(self, name: str) -> None:
        self._latest.pop(name, None)
        self._latest[name] = None

    def _remove(self, name: str) -> None:
        del self._latest[name]
        self._let_go(self._named.pop(name).adapter)

    def _let_go(self, adapter: Adapter) -> None:
        if any(named.adapter.sha == adapter.sha for named in self._named.values()):
            return
        if self._users[adapter.sha] == 0:
            del self._users[adapter.sha]
            self._when_unused(adapter)


def _nothing(_adapter: Adapter) -> None:
    """Free nothing while there is no engine."""


def _below(root: Path, path: str) -> Path:
    """Resolve the folder of a request below the root, after following links. Raises the errors of `load`."""
    try:
        folder = (root / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a NUL byte
        raise AdapterRefused("lora_path is no path") from error
    if not folder.is_relative_to(root):
        raise AdapterRefused("lora_path leads out of the folder that this server may load adapters from")
    return folder
