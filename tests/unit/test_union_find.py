from hypothesis import given
from hypothesis import strategies as st

from service.union_find import UnionFind

SIZE = 12


@given(st.lists(st.lists(st.integers(0, SIZE - 1), max_size=4), max_size=8))
def test_numbers_are_in_one_group_exactly_if_joins_connect_them(joins: list[list[int]]) -> None:
    groups, found = [{number} for number in range(SIZE)], UnionFind(SIZE)
    for joined in map(set, joins):
        found.join(*joined)
        touched = [group for group in groups if group & joined]
        groups = [group for group in groups if not group & joined]
        groups += [set().union(*touched)] if touched else []
    groups.sort(key=min)
    assert [found.root(number) for group in groups for number in group] == [min(g) for g in groups for _ in g]
    assert found.groups() == [next(n for n, group in enumerate(groups) if number in group) for number in range(SIZE)]
