import threading

import pytest

from anomseg.errors import FrameError
from anomseg.inference import Prefetch


def alive() -> int:
    return sum(thread.name == "anomseg-prefetch" for thread in threading.enumerate())


def test_order_and_errors_are_carried():
    def load(number):
        if number == 1:
            raise FrameError("one is bad")
        return number * 10

    with Prefetch(range(3), load) as items:
        results = list(items)
    assert [item for item, _ in results] == [0, 1, 2]
    assert results[0][1] == 0
    assert isinstance(results[1][1], FrameError)
    assert results[2][1] == 20
    assert alive() == 0


def test_it_runs_no_further_ahead_than_told():
    loaded = []
    with Prefetch(range(1000), loaded.append, depth=2) as items:
        for _ in zip(range(5), items, strict=False):
            pass
        # 5 taken, 2 waiting, one in hand, and zip fetched none beyond its range.
        assert len(loaded) <= 9
    assert alive() == 0


def test_leaving_early_ends_the_thread():
    with Prefetch(range(10**9), lambda number: number) as items:
        assert [number for number, _ in zip(range(3), items, strict=False)] == [0, 1, 2]
        assert alive() == 1
    assert alive() == 0


def test_other_errors_reach_the_caller():
    def broken():
        yield 1
        raise OSError("camera lost")

    with pytest.raises(OSError, match="camera lost"), Prefetch(broken(), lambda number: number) as items:
        list(items)
    with pytest.raises(ZeroDivisionError), Prefetch([0], lambda number: 1 / number) as items:
        list(items)
    assert alive() == 0
