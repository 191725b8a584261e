"""What waits for the loader is known by document, against a plain dictionary."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from compose.store.pending import Pending
from compose.store.rows import Operation

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.tuples(st.integers(1, 3), st.sampled_from("abcd")), max_size=6)),
        st.tuples(st.just("remove"), st.integers(0, 6)),
        st.tuples(st.just("drop"), st.integers(1, 3)),
    ),
    max_size=12,
)


@settings(deadline=None)  # a busy machine is no fault
@given(STEPS)
def test_the_newest_change_of_each_document_waits(steps: list[tuple[str, object]]) -> None:
    """Whatever comes, is loaded in its order or is dropped with its index: what waits is as in one dictionary."""
    pending, plain, queue = Pending(), dict[tuple[int, str], Operation](), list[Operation]()
    for step, what in steps:
        if step == "add" and isinstance(what, list):
            added = [Operation(0, number, name, 1, False, b"{}", {}, {}, []) for number, name in what]
            pending.add(added)
            plain.update({(each.number, each.id): each for each in added})
            queue += added
        elif step == "remove" and isinstance(what, int):
            loaded, queue = queue[:what], queue[what:]
            pending.remove(loaded)
            for each in loaded:
                if plain.get((each.number, each.id)) is each:
                    del plain[each.number, each.id]
        elif isinstance(what, int):
            pending.drop(what)
            plain = {key: each for key, each in plain.items() if key[0] != what}
        for number in (1, 2, 3):
            for name in "abcd":
                assert pending.get(number, name) is plain.get((number, name))
            assert sorted(pending.ids(number)) == sorted(name for owner, name in plain if owner == number)
    pending.clear()
    assert pending.ids(1) == pending.ids(2) == pending.ids(3) == []
