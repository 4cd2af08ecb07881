"""A bounded memory of what was used last."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """Holds entries up to `room`, of which each takes `size(value)`, 1 by default; forgets the one longest unused."""

    def __init__(self, room: int, size: Callable[[_Value], int] = lambda _: 1) -> None:
        self._room = room
        self._size = size
        self._entries: OrderedDict[_Key, _Value] = OrderedDict()
        self._held = 0

    def get(self, key: _Key) -> _Value | None:
        """The entry, None where there is none."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: _Key, value: _Value) -> None:
        """Remember an entry, in place of an older one of the same key."""
        if key in self._entries:
            self._held -= self._size(self._entries.pop(key))
        self._entries[key] = value
        self._held += self._size(value)
        while self._held > self._room:
            _, forgotten = self._entries.popitem(last=False)
            self._held -= self._size(forgotten)
