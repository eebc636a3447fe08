"""The hand-over between threads: nothing queues, nothing is lost uncounted, nobody waits longer than agreed."""

from __future__ import annotations

import time
from threading import Event, Thread, Timer

from dfanet_ros.newest import Newest


def test_the_newest_of_each_source_is_taken() -> None:
    newest: Newest[str] = Newest()
    assert newest.take(2) == {}
    assert not newest.put(0, "a1")
    assert not newest.put(1, "b1")
    assert newest.put(0, "a2")
    assert newest.take(2) == {0: "a2", 1: "b1"}
    assert not newest.put(0, "a3")
    assert newest.take(2) == {0: "a3"}


def test_nothing_is_waited_for_without_an_item_or_with_all() -> None:
    newest: Newest[str] = Newest()
    start = time.monotonic()
    assert newest.take(2, wait=5) == {}
    newest.put(0, "a")
    newest.put(1, "b")
    assert newest.take(2, wait=5) == {0: "a", 1: "b"}
    newest.put(0, "a")
    assert newest.take(2) == {0: "a"}
    assert time.monotonic() - start < 1


def test_a_source_is_waited_for_but_not_for_ever() -> None:
    newest: Newest[str] = Newest()
    newest.put(0, "a")
    start = time.monotonic()
    assert newest.take(2, wait=0.2) == {0: "a"}
    assert 0.19 < time.monotonic() - start < 2
    newest.put(0, "a")
    Timer(0.1, newest.put, (1, "b")).start()
    start = time.monotonic()
    assert newest.take(2, wait=20) == {0: "a", 1: "b"}
    assert time.monotonic() - start < 10


def test_every_item_is_taken_or_counted_as_dropped() -> None:
    newest: Newest[int] = Newest()
    dropped = [0, 0, 0]
    taken: list[dict[int, int]] = []
    done = Event()

    def produce(source: int) -> None:
        for number in range(1000):
            dropped[source] += newest.put(source, number)

    def consume() -> None:
        finished = False
        while not finished:
            finished = done.is_set()  # looked at first: then nothing comes after the last look
            taken.append(newest.take(3))

    producers = [Thread(target=produce, args=(source,)) for source in range(3)]
    consumer = Thread(target=consume)
    for thread in [consumer, *producers]:
        thread.start()
    for thread in producers:
        thread.join()
    done.set()
    consumer.join()
    for source in range(3):
        numbers = [items[source] for items in taken if source in items]
        assert numbers == sorted(numbers) and numbers[-1] == 999
        assert len(numbers) + dropped[source] == 1000
