"""Bags: what was written is read in order, however it is stored and compressed; damaged ones as far as it goes."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rosbags", reason="rosbags is not installed")
pytest.importorskip("mcap", reason="mcap is not installed")

from bag_files import KINDS, STRING, image, storage_file, text, write_bag
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from ruamel.yaml import YAML

from dfanet_ros.bags import BagError
from dfanet_ros.bags.images import IMAGE, header_of, image_bytes, read_frames
from dfanet_ros.bags.reader import BagReader
from dfanet_ros.bags.writer import BagWriter
from dfanet_ros.image_messages import stamp_of

ROOT = Path(__file__).parents[1]
IDS = [f"{storage.name}-{mode.name}" for storage, mode in KINDS]
TOPICS = {"/a": STRING, "/b": STRING}
COUNT = 300
SIZE = 8192  # bytes a message, so that files have several chunks

every_kind = pytest.mark.parametrize(("storage", "mode"), KINDS, ids=IDS)


def messages(count: int = COUNT) -> list[tuple[str, int, bytes]]:
    """Texts that cannot be compressed, on two topics in turns."""
    rng = np.random.default_rng(0)
    random = rng.integers(33, 126, (count, SIZE), np.uint8)
    return [("/ab"[0] + "ab"[k % 2], 1000 + k, text(f"{k} {random[k].tobytes().decode()}")) for k in range(count)]


# Whole bags


@every_kind
def test_all_messages_come_in_order(storage: StoragePlugin, mode: CompressionMode, tmp_path: Path) -> None:
    written = messages(20)
    bag = write_bag(tmp_path / "bag", TOPICS, written, storage, mode, latched=["/b"])
    for path in (bag, storage_file(bag)):
        with BagReader(path) as reader:
            assert reader.topics == TOPICS and reader.counts == {"/a": 10, "/b": 10}
            assert reader.latched == {"/b"}
            assert [*reader.messages()] == written
            assert [*reader.messages(["/b"])] == [message for message in written if message[0] == "/b"]
            assert [*reader.messages([])] == []
            assert reader.decoded("/a", written[0][2]).data.startswith("0 ")
            assert reader.problem == ""


def test_metadata_are_those_that_humble_reads_too(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", TOPICS):
        pass
    content = YAML(typ="safe").load(tmp_path / "bag/metadata.yaml")["rosbag2_bagfile_information"]
    assert content["version"] < 9
    qualities = [topic["topic_metadata"]["offered_qos_profiles"] for topic in content["topics_with_message_count"]]
    assert qualities == ["", ""], "Humble takes nothing but a text"


contents = st.lists(st.tuples(st.sampled_from(["/a", "/b"]), st.integers(0, 2**40), st.text(max_size=9)), max_size=9)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(contents=contents, compress=st.booleans())
def test_writer_and_reader_agree(contents: list[tuple[str, int, str]], compress: bool) -> None:
    written = sorted(((topic, at, text(words)) for topic, at, words in contents), key=lambda message: message[1])
    with TemporaryDirectory() as folder:
        with BagWriter(Path(folder) / "bag", TOPICS, compress) as bag:
            for message in written:
                bag.write(*message)
        with BagReader(Path(folder) / "bag") as reader:
            assert [*reader.messages()] == written
            assert reader.topics == TOPICS and reader.problem == ""


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([None, 3]),
    stamp=st.integers(0, 2**31 * 10**9 - 1),
    frame_id=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=5),
    sliced=st.booleans(),
)
def test_images_go_there_and_back(
    height: int, width: int, channels: int | None, stamp: int, frame_id: str, sliced: bool
) -> None:
    shape = (height, width) if channels is None else (height, width, channels)
    pixels = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    given_pixels = np.repeat(pixels, 2, 1)[:, ::2] if sliced else pixels
    encoding = "mono8" if channels is None else "rgb8"
    with TemporaryDirectory() as folder:
        with BagWriter(Path(folder) / "bag", {"/image": IMAGE}) as bag:
            bag.write("/image", 5, image_bytes(given_pixels, encoding, header_of(stamp, frame_id)))
        with BagReader(Path(folder) / "bag") as reader:
            (source,) = read_frames(reader, "/image")
    assert source.frame is not None and source.frame.encoding == encoding
    np.testing.assert_array_equal(source.frame.pixels.reshape(shape), pixels)
    assert (source.number, source.received, source.stamp) == (0, 5, stamp)
    assert stamp_of(source.header) == stamp and source.header.frame_id == frame_id


def test_images_are_those_of_ros() -> None:
    """The bytes are those that rclpy would send."""
    serialization = pytest.importorskip("rclpy.serialization", reason="ROS 2 is not installed")
    from sensor_msgs.msg import Image

    pixels = np.random.default_rng(2).integers(0, 255, (4, 7, 3), np.uint8)
    ours = bytes(image(pixels, 12 * 10**9 + 345, frame_id="front"))
    message = serialization.deserialize_message(ours, Image)
    assert (message.height, message.width, message.step, message.encoding) == (4, 7, 21, "rgb8")
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (12, 345, "front")
    assert bytes(message.data) == pixels.tobytes()
    assert len(serialization.serialize_message(message)) == len(ours)  # bytes between fields may differ


def test_pixels_are_not_copied(tmp_path: Path) -> None:
    data = bytes(image(np.zeros((4, 5, 3), np.uint8), 1))
    with BagReader(write_bag(tmp_path / "bag", {"/image": IMAGE}, [("/image", 1, data)])) as reader:
        message = reader.decoded("/image", data)
    assert np.shares_memory(message.data, np.frombuffer(data, np.uint8))


def test_a_split_bag_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    """Without the metadata, which a killed recorder leaves out."""
    written = messages(11)
    (tmp_path / "bag").mkdir()
    for number, message in enumerate(written):
        part = write_bag(tmp_path / f"part{number}", TOPICS, [message])
        shutil.copy(storage_file(part), tmp_path / f"bag/bag_{number}.mcap")
    with BagReader(tmp_path / "bag") as reader:
        assert [*reader.messages()] == written
        assert reader.counts == {"/a": 6, "/b": 5}
        assert reader.problem == (
            f"{tmp_path}/bag is not whole: it has no metadata.yaml, which a recorder writes when it ends"
        )


# Damaged bags


@pytest.mark.parametrize("metadata", [True, False], ids=["with metadata", "without"])
@every_kind
def test_a_bag_that_was_cut_off(storage: StoragePlugin, mode: CompressionMode, metadata: bool, tmp_path: Path) -> None:
    written = messages()
    bag = write_bag(tmp_path / "bag", TOPICS, written, storage, mode)
    file = storage_file(bag)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    if not metadata:
        (bag / "metadata.yaml").unlink()
    with BagReader(bag) as reader:
        read = [*reader.messages()]
        again = [*reader.messages()]
        assert COUNT // 3 < len(read) < COUNT * 3 // 4 and read == again == written[: len(read)]
        assert sum(reader.counts.values()) >= len(read)
        assert reader.problem.startswith(f"{bag} is not whole: ")
        assert f"{file.name.removesuffix('.zstd')} is cut off or damaged" in reader.problem


@pytest.mark.parametrize("storage", StoragePlugin, ids=lambda storage: storage.name)
def test_a_bag_with_a_hole(storage: StoragePlugin, tmp_path: Path) -> None:
    """What cannot be read is reported, not raised; what can is right."""
    written = messages()
    mode = CompressionMode.STORAGE if storage == StoragePlugin.MCAP else CompressionMode.NONE
    bag = write_bag(tmp_path / "bag", TOPICS, written, storage, mode)
    file = storage_file(bag)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = bytes(20_000)
    file.write_bytes(data)
    with BagReader(bag) as reader:
        read = [*reader.messages()]
        # SQLite has no checksums: what was overwritten inside of a message is not noticed.
        assert 1 < len(read) < COUNT and read[:-1] == written[: len(read) - 1]
        assert f"{file.name} is damaged after {len(read)} messages" in reader.problem
    (bag / "metadata.yaml").unlink()
    file.write_bytes(data[: len(data) - 100])
    with BagReader(bag) as reader:
        read = [*reader.messages()]
    assert len(read) >= COUNT // 3
    if storage == StoragePlugin.MCAP:
        assert {*read} < {*written}
        assert read[-1][1] > 1000 + COUNT // 2, "what comes after the damaged chunk was not read"


def test_a_killed_writer_leaves_a_readable_bag(tmp_path: Path) -> None:
    code = (
        "import sys, time; sys.path[:0] = ['test']; from test_bags import *; path = Path(sys.argv[1])\n"
        "with BagWriter(path, TOPICS) as bag:\n"
        "    for message in messages(): bag.write(*message)\n"
        "    print('written', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "bag")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "written\n"
    finally:
        process.kill()
        process.wait()
    with BagReader(tmp_path / "bag") as reader:
        read = [*reader.messages()]
        assert "it has no metadata.yaml" in reader.problem
    assert len(read) > COUNT // 2 and read == messages()[: len(read)]


def test_an_exception_leaves_a_whole_bag(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), BagWriter(tmp_path / "bag", TOPICS) as bag:
        for message in messages(3):
            bag.write(*message)
        _ = 1 / 0
    with BagReader(tmp_path / "bag") as reader:
        assert [*reader.messages()] == messages(3) and reader.problem == ""


@pytest.mark.parametrize("compress", [False, True])
def test_an_empty_bag(compress: bool, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", TOPICS, compress):
        pass
    with BagReader(tmp_path / "bag") as reader:
        assert [*reader.messages()] == [] and reader.topics == TOPICS and reader.problem == ""


# Errors


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none", "there is no bag {path}"),
        ("folder", "{path} is not a bag: that is a folder with .mcap or .db3 files in it, or one of these files"),
        ("text.txt", "{path} is not a bag: that is a folder"),
        ("text.mcap", "nothing of the bag {path} can be read: text.mcap is cut off or damaged (not a valid MCAP file"),
        ("text.db3", "nothing of the bag {path} can be read: text.db3 cannot be read (file is not a database)"),
        ("empty.mcap", "nothing of the bag {path} can be read: empty.mcap is cut off or damaged ("),
        ("empty.db3", "nothing of the bag {path} can be read: empty.db3 cannot be read (no such table: topics)"),
    ],
)
def test_what_is_no_bag_is_refused(name: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        (path / "notes.txt").touch()
    elif name != "none":
        path.write_text("no bag " * 99 if "text" in name else "")
    with pytest.raises(BagError) as error:
        BagReader(path)
    assert str(error.value).startswith(says.format(path=path))


def test_a_missing_topic_names_those_that_there_are(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", TOPICS, messages(3))
    with BagReader(bag) as reader, pytest.raises(BagError) as error:
        reader.messages(["/a", "/c"])  # at once, not with the first message
    assert str(error.value) == (
        f"there is no topic /c in {bag}; it has /a ({STRING}, 2 messages), /b ({STRING}, 1 messages)"
    )


def test_unknown_types_are_named(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="topic /x is to be of type my_msgs/msg/Thing, which is none of the types that"):
        BagWriter(tmp_path / "bag", {"/x": "my_msgs/msg/Thing"})
    assert not (tmp_path / "bag").exists()
    write_bag(tmp_path / "bag", TOPICS, messages(1))
    with BagReader(tmp_path / "bag") as reader:
        reader.topics["/a"] = "my_msgs/msg/Thing"
        with pytest.raises(BagError, match="topic /a is of type my_msgs/msg/Thing, which is none of the types"):
            reader.decoded("/a", b"")


def test_nothing_but_a_bag_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    for _ in range(2):  # the second overwrites the first
        with BagWriter(path, TOPICS) as bag:
            bag.write(*messages(1)[0])
    (path / "holiday.jpg").touch()
    with pytest.raises(BagError, match=f"{path} is in the way: it is not a bag of an earlier run"):
        BagWriter(path, TOPICS)
    assert (path / "holiday.jpg").exists()
    with pytest.raises(BagError, match="is in the way"):
        BagWriter(path / "holiday.jpg", TOPICS)
    (path / "holiday.jpg").rename(path / "bag_0.mcap")  # as `ros2 bag record` names it
    with pytest.raises(BagError, match="is in the way"):
        BagWriter(path, TOPICS)
    assert (path / "bag_0.mcap").exists()


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, before[1]))  # files may not grow larger
    try:
        with (
            pytest.raises(OSError, match=rf"File too large: '{tmp_path}/bag'"),
            BagWriter(tmp_path / "bag", TOPICS) as bag,
        ):
            for message in messages():
                bag.write(*message)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with BagReader(tmp_path / "bag") as reader:
        read = [*reader.messages()]
    assert 0 < len(read) < COUNT and read == messages()[: len(read)]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cut=st.integers(0, 200), place=st.integers(0, 99), value=st.binary(min_size=1, max_size=8))
def test_any_bytes_are_an_image_or_give_a_sentence(cut: int, place: int, value: bytes) -> None:
    data = bytearray(image(np.zeros((4, 5, 3), np.uint8), 1))
    data[place : place + len(value)] = value
    reader = BagReader.__new__(BagReader)
    reader.topics = {"/image": IMAGE}
    reader.messages = lambda topics: iter([("/image", 7, bytes(data[: len(data) - cut]))])  # type: ignore[method-assign]
    (source,) = read_frames(reader, "/image")
    assert (source.frame is None) == bool(source.problem)
    assert source.received == 7


# Without ROS


@pytest.mark.parametrize("module", ["dfanet_ros.bag_from_images", "dfanet_ros.evaluate_bag"])
def test_no_ros_is_needed(module: str) -> None:
    block = "; ".join(f"sys.modules[{name!r}] = None" for name in ("rclpy", "sensor_msgs", "std_msgs"))
    code = f"import sys, runpy; {block}; sys.argv[1:] = ['--help']; runpy.run_module({module!r}, run_name='__main__')"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0 and "usage: " in ended.stdout, ended.stderr


@pytest.mark.parametrize("module", ["dfanet_ros.bag_from_images", "dfanet_ros.evaluate_bag"])
def test_what_is_not_installed_is_named(module: str) -> None:
    code = (
        "import sys, runpy, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name in ('rosbags', 'tqdm') else find(name, *more)\n"
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    name = module.rpartition(".")[2]
    assert ended.returncode == 1 and ended.stderr == (
        f"error: {name} needs rosbags and tqdm: pip install rosbags tqdm\n"
    )
