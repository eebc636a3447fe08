"""The hand-over between threads: nothing queues, nothing is lost uncounted, nobody waits for ever."""

from __future__ import annotations

from threading import Thread

from dfanet_ros.newest import Newest


def test_the_newest_of_each_source_is_taken() -> None:
    newest: Newest[str] = Newest()
    assert not newest.put(0, "a1")
    assert not newest.put(1, "b1")
    assert newest.put(0, "a2")
    assert newest.take() == {0: "a2", 1: "b1"}
    assert not newest.put(0, "a3")
    assert newest.take() == {0: "a3"}


def test_close_ends_the_waiting() -> None:
    newest: Newest[str] = Newest()
    taken: list[dict[int, str]] = []
    thread = Thread(target=lambda: taken.append(newest.take()))
    thread.start()
    newest.close()
    thread.join(5)
    assert not thread.is_alive() and taken == [{}]
    newest.put(0, "late")
    assert newest.take() == {}


def test_every_item_is_taken_or_counted_as_dropped() -> None:
    newest: Newest[int] = Newest()
    dropped = [0, 0, 0]
    taken: list[dict[int, int]] = []

    def produce(source: int) -> None:
        for number in range(1000):
            dropped[source] += newest.put(source, number)

    def consume() -> None:
        while items := newest.take():
            taken.append(items)

    producers = [Thread(target=produce, args=(source,)) for source in range(3)]
    consumer = Thread(target=consume)
    for thread in [consumer, *producers]:
        thread.start()
    for thread in producers:
        thread.join()
    while newest._items:
        pass
    newest.close()
    consumer.join()
    for source in range(3):
        numbers = [items[source] for items in taken if source in items]
        assert numbers == sorted(numbers) and numbers[-1] == 999
        assert len(numbers) + dropped[source] == 1000
