"""Bags as ROS 2 records them, MCAP or SQLite, also compressed, also damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from dfanet_ros.bags import BagError
from dfanet_ros.bags.cut_database import CutDatabase
from dfanet_ros.bags.metadata import METADATA, listed_files
from dfanet_ros.bags.storage import Message, Storage, WholeStorage, plain, unpack
from dfanet_ros.numbered import by_number

SUFFIXES = (".mcap", ".db3")
PACKED = ".zstd"


class BagReader:
    """A bag to be read, open within `with`.

    What a killed recorder, a full disk or a copy that was broken off have left is read as far as it goes: there is no
    error for it, but `problem` says what is missing.

    Args:
        path: a bag's folder, or one of its .mcap or .db3 files.

    Attributes:
        topics: the topics' types, like `sensor_msgs/msg/Image`, by name.
        counts: how many messages of each topic there are, by name.
        latched: topics whose messages are for later subscribers, too (transient local), as far as that is known.

    Raises:
        BagError: there is no such bag, or nothing of it can be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._storages: list[Storage] = []
        self._problems: list[str] = []
        with ExitStack() as opened:
            self._open(opened)
            self._stack = opened.pop_all()
        self.topics = {name: kind for storage in self._storages for name, kind in storage.topics.items()}
        self.latched = frozenset().union(*(storage.latched for storage in self._storages))
        self.counts = {name: sum(storage.counts.get(name, 0) for storage in self._storages) for name in self.topics}

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def problem(self) -> str:
        """What cannot be read of the bag, in a sentence; empty as long as all can. Reading may find more of it."""
        found = self._found()
        return f"{self.path} is not whole: {found}" if found else ""

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """Each message's topic, when it was received (ns since the epoch) and its bytes (CDR), in the order of time.

        The bag may be read several times, but not by two iterators at once.

        Args:
            topics: of which to read; None: of all.

        Raises:
            BagError: a topic is not in the bag; the sentence says which are.
        """
        chosen = self.topics.keys() if topics is None else set(topics)
        for topic in sorted(chosen):
            if topic not in self.topics:
                raise BagError(f"there is no topic {topic} in {self.path}; {self.listing()}")
        return (message for storage in self._storages for message in storage.messages(chosen))

    def decoded(self, topic: str, message: bytes) -> Any:
        """The message as an object with the fields that ROS gives it; arrays are NumPy's, views on the bytes.

        Raises:
            BagError: its type is none of ROS 2's own, or the bytes are no message of that type.
        """
        kind = self.topics[topic]
        if kind not in typestore().fielddefs:
            raise BagError(f"topic {topic} is of type {kind}, which is none of the types that come with ROS 2")
        try:
            return typestore().deserialize_cdr(memoryview(message), kind)  # of bytes, rosbags makes a copy
        except SerdeError as error:
            raise BagError(f"{len(message)} bytes on {topic} are no {kind}: {plain(error)}") from error

    def listing(self) -> str:
        """What the bag has, in words."""
        if not self.topics:
            return "it has no topics"
        return "it has " + ", ".join(
            f"{topic} ({kind}, {self.counts[topic]} messages)" for topic, kind in sorted(self.topics.items())
        )

    def _found(self) -> str:
        """What cannot be read, without the bag's name."""
        return "; ".join([*self._problems, *(storage.problem for storage in self._storages if storage.problem)])

    def _open(self, stack: ExitStack) -> None:
        path = self.path
        if not path.exists():
            raise BagError(f"there is no bag {path}")
        files = self._files()
        if not files:
            raise BagError(
                f"{path} is not a bag: that is a folder with .mcap or .db3 files in it, or one of these files"
            )
        folder = stack.enter_context(TemporaryDirectory()) if any(file.suffix == PACKED for file in files) else ""
        for file in files:
            self._open_file(unpack(file, Path(folder)) if file.suffix == PACKED else file, stack)
        if self._found() and not any(storage.topics for storage in self._storages):
            raise BagError(f"nothing of the bag {path} can be read: {self._found()}")

    def _files(self) -> list[Path]:
        """The bag's files in their order: that of its metadata, else that of their numbers."""
        if not self.path.is_dir():
            return [self.path] if _is_storage(self.path) else []
        there = sorted(filter(_is_storage, self.path.iterdir()), key=by_number)
        try:
            listed = listed_files(self.path)
        except FileNotFoundError:
            self._problems.append(f"it has no {METADATA}, which a recorder writes when it ends")
        except BagError as error:
            self._problems.append(str(error))
        else:
            missing = [file.name for file in listed if file not in there]
            if listed and not missing:
                return listed
            self._problems += [f"{name} is missing" for name in missing]
        return there

    def _open_file(self, file: Path, stack: ExitStack) -> None:
        """Open one file, by its index or, if that cannot be, from its beginning."""
        try:
            self._add(WholeStorage(file), stack)
            return
        except Exception as error:  # rosbags lets through what SQLite and struct raise
            reason = plain(error)
        try:
            if file.suffix == ".mcap":
                from dfanet_ros.bags.cut_mcap import CutMcap  # here, for whole bags are read without the package mcap

                self._add(CutMcap(file), stack)
            else:
                self._add(CutDatabase(file), stack)
        except ImportError:
            self._problems.append(
                f"{file.name} cannot be read by its index ({reason}); without it takes the package mcap (pip install "
                "mcap)"
            )
        except sqlite3.Error as error:
            self._problems.append(f"{file.name} cannot be read ({plain(error)})")

    def _add(self, storage: Storage, stack: ExitStack) -> None:
        stack.callback(storage.close)
        self._storages.append(storage)


@cache
def typestore() -> Typestore:
    """The types of ROS 2; those of images have been the same in all its versions."""
    return get_typestore(Stores.ROS2_JAZZY)


def _is_storage(path: Path) -> bool:
    return path.name.removesuffix(PACKED).endswith(SUFFIXES) and path.is_file()
