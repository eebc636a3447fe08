"""Bags that rosbags alone does not read, or not all of: what is whole is read without a complaint, in order."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")
pytest.importorskip("mcap", reason="mcap is not installed")

from bag_files import STRING, Message, storage_file, write_bag
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from ruamel.yaml import YAML
from test_bags import TOPICS, messages

from dfanet_ros.bags import BagError
from dfanet_ros.bags.reader import BagReader

SHUFFLED = [1, 0, 2, 5, 3, 4]  # an order in which messages may be written; three are a chunk


def read(path: Path, topics: list[str] | None = None) -> tuple[list[Any], str]:
    """All messages of a bag, read twice, and what it says is wrong with it."""
    with BagReader(path) as bag:
        once, again = [*bag.messages(topics)], [*bag.messages(topics)]
        assert once == again
        if topics is None and "is damaged after" not in bag.problem:
            assert sum(bag.counts.values()) == len(once)
        return once, bag.problem


def change_metadata(bag: Path, change: Callable[[dict[str, Any]], object]) -> None:
    yaml, path = YAML(typ="safe"), bag / "metadata.yaml"
    content = yaml.load(path)
    change(content["rosbag2_bagfile_information"])
    yaml.dump(content, path)


def write_mcap(path: Path, written: list[Message], chunks: bool, profile: str = "ros2") -> Path:
    """An MCAP file as other recorders write it; in chunks of a few messages or without any."""
    with path.open("wb") as file:
        writer = McapWriter(file, use_chunking=chunks, compression=CompressionType.NONE, chunk_size=20_000)
        writer.start(profile=profile, library="test")
        schema = writer.register_schema(name=STRING, encoding="ros2msg", data=b"string data")
        channels = {
            topic: writer.register_channel(topic=topic, message_encoding="cdr", schema_id=schema) for topic in TOPICS
        }
        for topic, received, data in written:
            writer.add_message(channels[topic], log_time=received, publish_time=received, data=bytes(data))
        writer.finish()
    return path


def split_bag(path: Path, parts: int, storage: StoragePlugin, mode: CompressionMode) -> list[Message]:
    """A bag of several files and its metadata; gives the messages, the same number in each file."""
    written = messages(60)
    size = len(written) // parts
    path.mkdir()
    names = []
    for number in range(parts):
        part = write_bag(
            path.with_name(f"part{number}"), TOPICS, written[size * number : size * (number + 1)], storage, mode
        )
        names.append(f"bag_{number}{storage_file(part).suffix}")
        shutil.copy(storage_file(part), path / names[-1])
    shutil.copy(part / "metadata.yaml", path)
    change_metadata(path, lambda content: content.update(relative_file_paths=names))
    return written


# Metadata


@pytest.mark.parametrize("storage", StoragePlugin, ids=lambda storage: storage.name)
def test_topics_count_whatever_the_metadata_say_of_their_qos(storage: StoragePlugin, tmp_path: Path) -> None:
    written = messages(6)
    bag = write_bag(tmp_path / "bag", TOPICS, written, storage, latched=["/a"])

    def forget(content: dict[str, Any]) -> None:
        for topic in content["topics_with_message_count"]:
            topic["topic_metadata"]["offered_qos_profiles"] = ""

    change_metadata(bag, forget)
    assert read(bag) == (written, "")


def test_versions_to_come_are_read(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", TOPICS, messages(6))
    change_metadata(bag, lambda content: content.update(version=99))
    assert read(bag) == (messages(6), "")


def test_files_are_those_of_the_metadata_in_their_order(tmp_path: Path) -> None:
    written = split_bag(tmp_path / "bag", 3, StoragePlugin.MCAP, CompressionMode.NONE)
    shutil.copy(tmp_path / "bag/bag_0.mcap", tmp_path / "bag/a copy.mcap")
    assert read(tmp_path / "bag") == (written, "")
    names = ["bag_2.mcap", "bag_0.mcap"]
    change_metadata(tmp_path / "bag", lambda content: content.update(relative_file_paths=names))
    assert read(tmp_path / "bag") == (written[40:] + written[:20], "")


def test_missing_files_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    written = split_bag(tmp_path / "bag", 3, StoragePlugin.MCAP, CompressionMode.NONE)
    (tmp_path / "bag/bag_1.mcap").unlink()
    assert read(tmp_path / "bag") == (
        written[:20] + written[40:],
        f"{tmp_path}/bag is not whole: bag_1.mcap is missing",
    )


@pytest.mark.parametrize("content", ["", "{", "rosbag2_bagfile_information: {}", "a: \x00"])
def test_damaged_metadata_are_said_and_the_files_are_read(content: str, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", TOPICS, messages(6))
    (bag / "metadata.yaml").write_text(content)
    found, problem = read(bag)
    assert found == messages(6)
    assert problem.startswith(f"{bag} is not whole: its metadata.yaml does not say which files it has (")


# Whole files


@pytest.mark.parametrize("name", ["a b", "no#1", "50%20x", "what?x"])
@pytest.mark.parametrize("storage", StoragePlugin, ids=lambda storage: storage.name)
def test_folders_may_have_any_name(storage: StoragePlugin, name: str, tmp_path: Path) -> None:
    written = messages(6)
    bag = write_bag(tmp_path / "bag", TOPICS, [written[k] for k in SHUFFLED], storage).rename(tmp_path / name)
    assert read(bag) == (written, "")


@pytest.mark.parametrize("profile", ["ros2", ""])
@pytest.mark.parametrize("chunks", [False, True])
def test_mcap_of_other_writers(chunks: bool, profile: str, tmp_path: Path) -> None:
    """Those of the preset fastwrite have no chunks, those of `mcap merge` no profile."""
    written = messages(6)
    path = write_mcap(tmp_path / "bag.mcap", [written[k] for k in SHUFFLED], chunks, profile)
    assert read(path) == (written, "")
    assert read(path, ["/b"]) == (written[1::2], "")


def test_mcap_without_chunks_that_was_cut_off(tmp_path: Path) -> None:
    written = messages(6)
    path = write_mcap(tmp_path / "bag.mcap", [written[k] for k in SHUFFLED], chunks=False)
    path.write_bytes(path.read_bytes()[: len(written[0][2]) * 9 // 2])
    found, problem = read(path)
    assert found == [*written[:3], written[5]]
    assert problem.startswith(f"{path} is not whole: bag.mcap is cut off or damaged (")


def test_without_the_package_mcap_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mcap(tmp_path / "bag.mcap", messages(6), chunks=False)
    monkeypatch.setitem(sys.modules, "dfanet_ros.bags.cut_mcap", None)
    with pytest.raises(BagError) as error:
        BagReader(path)
    assert str(error.value) == (
        f"nothing of the bag {path} can be read: bag.mcap cannot be read by its index (its messages are in no chunks); "
        "without it takes the package mcap (pip install mcap)"
    )


# Damage


@pytest.mark.parametrize("storage", StoragePlugin, ids=lambda storage: storage.name)
def test_after_a_damaged_file_the_next_ones_are_read(storage: StoragePlugin, tmp_path: Path) -> None:
    mode = CompressionMode.STORAGE if storage == StoragePlugin.MCAP else CompressionMode.NONE
    written = split_bag(tmp_path / "bag", 3, storage, mode)
    first = next((tmp_path / "bag").glob("bag_0.*"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20_000] = bytes(20_000)
    first.write_bytes(data)
    found, problem = read(tmp_path / "bag")
    assert found[-40:] == written[20:]
    assert problem.startswith(f"{tmp_path}/bag is not whole: {first.name} is ")


@pytest.mark.parametrize("storage", StoragePlugin, ids=lambda storage: storage.name)
def test_messages_that_cannot_be_decompressed_are_left_out(storage: StoragePlugin, tmp_path: Path) -> None:
    """Of a file that cannot be read by its index."""
    written = messages(8)
    bag = write_bag(tmp_path / "bag", TOPICS, written, storage, CompressionMode.MESSAGE)
    file = storage_file(bag)
    if storage == StoragePlugin.MCAP:
        data = bytearray(file.read_bytes())
        places = [place for place in range(len(data)) if data[place : place + 4] == b"\x28\xb5\x2f\xfd"]
        assert len(places) == len(written)
        data[places[2] + 4 : places[2] + 20] = b"\xff" * 16
        file.write_bytes(data[:-20])
    else:
        with sqlite3.connect(file) as database:
            database.execute("UPDATE messages SET data = x'28b52ffdffffffffffff' WHERE id = 3")
        database.close()
        bag = bag.rename(tmp_path / "no#1")  # which rosbags does not open
    found, problem = read(bag)
    assert found == written[:2] + written[3:]
    assert "is cut off or damaged (a message cannot be decompressed: " in problem


# A recorder that was killed


KILLED = """
import os, sqlite3, sys
sys.path[:0] = ["test"]
from test_bags import TOPICS, STRING, messages
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute("CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, "
    "serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL)")
database.execute("CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, "
    "data BLOB NOT NULL)")
database.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
for number, topic in enumerate(TOPICS):
    database.execute("INSERT INTO topics VALUES(?, ?, ?, 'cdr', '')", (number, topic, STRING))
for number, (topic, received, data) in enumerate(messages()[: int(sys.argv[2])]):
    values = ([*TOPICS].index(topic), received, data)
    database.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)", values)
os.kill(os.getpid(), 9)
"""


def killed(folder: Path, count: int) -> Path:
    """What the storage preset `resilient` leaves of so many messages; gives the database."""
    path = folder / "bag_0.db3"
    subprocess.run([sys.executable, "-c", KILLED, path, str(count)], cwd=Path(__file__).parents[1], check=False)
    assert os.path.getsize(f"{path}-wal")
    return path


@pytest.mark.parametrize("count", [5, 290])
def test_messages_in_the_write_ahead_log_are_read(count: int, tmp_path: Path) -> None:
    """Of few messages, all are there, and even the tables; of many, the last."""
    database = killed(tmp_path, count)
    assert read(database) == (messages()[:count], "")
    assert read(tmp_path) == (
        messages()[:count],
        f"{tmp_path} is not whole: it has no metadata.yaml, which a recorder writes when it ends",
    )


@pytest.mark.parametrize("count", [5, 290])
def test_a_write_ahead_log_that_cannot_be_read_is_named(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E.g. where no file may be made beside it."""
    database, connect = killed(tmp_path, count), sqlite3.connect

    def refuse(name: str, **options: Any) -> sqlite3.Connection:
        if "immutable" not in name:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(name, **options)

    monkeypatch.setattr(sqlite3, "connect", refuse)
    says = "bag_0.db3-wal, which has its last messages, cannot be read (unable to open database file)"
    if count == 5:
        with pytest.raises(BagError) as error:
            BagReader(database)
        assert str(error.value) == f"nothing of the bag {database} can be read: bag_0.db3 cannot be read ({says})"
        return
    found, problem = read(database)
    assert 0 < len(found) < count and found == messages()[: len(found)]
    assert problem == f"{database} is not whole: {says}"
