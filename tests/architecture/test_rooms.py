"""Rooms: folders of modules; the way of one data set through them, as ARCHITECTURE.md draws it, is what imports say."""

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

TOPS = ("service", "api", "workers", "icm", "inference", "training", "migrations")
MOST_MODULES = 16  # side by side in one room
MOST_TO_READ = 60  # modules that the way of one data set names
FLAT = {"service/storage"}  # larger still


def modules(root: Path) -> dict[str, Path]:
    """Every product module by its dotted name."""
    found = {}
    for top in TOPS:
        for path in (root / top).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(module: str) -> str:
    """Modules of a package's root are rooms of their own: doors, records and composition."""
    package = module.rpartition(".")[0]
    return package if "." in package else module


def imports_between_rooms(root: Path) -> dict[str, set[str]]:
    known, found = modules(root), defaultdict(set)
    for module, path in known.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                for name in (f"{node.module}.{alias.name}" for alias in node.names):
                    target = name if name in known else node.module
                    if target in known and room_of(target) != room_of(module):
                        found[room_of(module)].add(room_of(target))
    return found


def way(root: Path) -> list[tuple[str, list[str]]]:
    """The lines of the table: a room and the files named in it."""
    text = (root / "ARCHITECTURE.md").read_text("utf-8")
    table = text.partition("## The way of one data set")[2].partition("Around it:")[0]
    lines = re.findall(r"^\| `([\w/]+)/` \| (.*?) \|", table, re.MULTILINE)
    return [(room, re.findall(r"`([\w/]+\.py)`", text)) for room, text in lines]


def test_rooms_import_one_another_one_way_only(root: Path) -> None:
    list(TopologicalSorter(imports_between_rooms(root)).static_order())  # raises CycleError, which names the circle


def test_an_import_cycle_between_rooms_would_be_noticed(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        folder = tmp_path / "service" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "module.py").write_text(f"from service.{other} import module\n")
    assert imports_between_rooms(tmp_path) == {"service.one": {"service.two"}, "service.two": {"service.one"}}


def test_the_way_of_a_data_set_enters_no_room_twice_and_is_short(root: Path) -> None:
    rooms = [room for room, _ in way(root)]
    assert len(rooms) > 15
    assert len(rooms) == len(set(rooms))
    assert sum(len(files) for _, files in way(root)) <= MOST_TO_READ


def test_the_way_of_a_data_set_names_files_that_are_in_their_rooms(root: Path) -> None:
    for room, files in way(root):
        places = [(root / room, root / room / ".."), (root, root)]
        for file in files:
            assert any((one / file).exists() or (other / file).exists() for one, other in places), (room, file)


def sizes(root: Path) -> dict[str, int]:
    """How many modules lie side by side in each folder."""
    count: dict[str, int] = defaultdict(int)
    for path in modules(root).values():
        count[str(path.parent.relative_to(root))] += path.name != "__init__.py"
    return count


def test_rooms_stay_small_except_known_ones(root: Path) -> None:
    assert {room for room, size in sizes(root).items() if size > MOST_MODULES} == FLAT
