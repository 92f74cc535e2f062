"""The paged counter against a dictionary, under a tiny budget, and beyond 32 bits."""

import errno
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg.errors import DataError
from anomseg.metrics.paged import PAGE, SLAB_PAGES, PagedCounter

KEYS = st.one_of(st.integers(0, 3 * PAGE), st.integers(0, 2**32 - 1), st.integers(2**32 - PAGE, 2**32 - 1))


def added(counter, table):
    keys = np.array(sorted(table), np.uint32)
    counter.add(keys, np.array([table[int(key)] for key in keys], np.int64))


def contents(counter):
    return {int(key): int(count) for keys, counts in counter.items() for key, count in zip(keys, counts, strict=True)}


@settings(max_examples=40)
@given(st.lists(st.dictionaries(KEYS, st.integers(1, 9), max_size=12), max_size=4), st.lists(KEYS, max_size=12))
def test_counts_and_queries_are_those_of_a_dictionary(tables, queries):
    counter = PagedCounter()
    expected: dict[int, int] = {}
    for table in tables:
        added(counter, table)
        for key, count in table.items():
            expected[key] = expected.get(key, 0) + count
    assert contents(counter) == expected
    assert counter.total == sum(expected.values())
    assert counter.size() == (len(expected), max(expected.values(), default=0))
    assert counter.lowest() == min(expected, default=None)
    asked = sorted([*queries, *expected])
    at_or_above, above = counter.at_or_above(np.array(asked, np.uint32))
    assert at_or_above.tolist() == [sum(n for k, n in expected.items() if k >= key) for key in asked]
    assert above.tolist() == [sum(n for k, n in expected.items() if k > key) for key in asked]


def test_a_query_on_a_page_that_does_not_exist_counts_all_of_the_next_one():
    counter = PagedCounter()
    counter.add(np.array([5 * PAGE], np.uint32), np.array([4]))
    at_or_above, above = counter.at_or_above(np.array([3 * PAGE + 7, 5 * PAGE, 6 * PAGE], np.uint32))
    assert (at_or_above.tolist(), above.tolist()) == ([4, 4, 0], [4, 0, 0])


def spread(seed, pages=3 * SLAB_PAGES):
    """Keys on more pages than a slab holds, in an order of pages that mixes the slabs."""
    rng = np.random.default_rng(seed)
    keys = np.unique(
        rng.choice(1 << 20, pages, replace=False).astype(np.uint32) * PAGE + rng.integers(0, PAGE, pages, np.uint32)
    )
    return keys, rng.integers(1, 50, keys.size)


def test_beyond_the_budget_counts_are_files_and_stay_exact(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    small, large = PagedCounter(memory_budget=17 << 20), PagedCounter(memory_budget=1 << 30)
    for seed in range(3):
        for counter in (small, large):
            counter.add(*spread(seed))
    assert small.bytes_in_memory <= 17 << 20
    assert small.bytes_in_files > 0
    assert large.bytes_in_files == 0
    assert contents(small) == contents(large)
    queries = np.sort(np.random.default_rng(9).integers(0, 2**32, 500, np.uint32))
    assert np.array_equal(small.at_or_above(queries), large.at_or_above(queries))
    assert not list(tmp_path.iterdir()), "temporary files have no name that could be left behind"


def test_full_disk_is_a_one_line_error(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(DataError, match=r"No space left.*TMPDIR") as caught:
        PagedCounter(memory_budget=0).add(np.array([1], np.uint32), np.array([1]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_cells_do_not_overflow_32_bits(budget):
    counter = PagedCounter(budget)
    keys = np.array([7, 8], np.uint32)
    for _ in range(5):
        counter.add(keys, np.array([2**31, 1]))
    assert contents(counter) == {7: 5 * 2**31, 8: 5}
    assert counter.at_or_above(keys)[0].tolist() == [5 * 2**31 + 5, 5]
    counter.add(keys, np.array([2**40, 0]))
    assert contents(counter)[7] == 5 * 2**31 + 2**40


def test_memory_does_not_grow_with_pixels():
    counter = PagedCounter()
    keys, counts = spread(0, pages=500)
    counter.add(keys, counts)
    before = counter.bytes_in_memory
    for _ in range(200):
        counter.add(keys, counts * 1000)
    assert counter.bytes_in_memory == before
    assert counter.total == int(counts.sum()) * 200_001
