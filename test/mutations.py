"""Random and mutated image messages, by hypothesis: most are broken, some are as odd as images can be."""

from __future__ import annotations

from array import array
from collections import defaultdict

from checked_stream import SIZE, AnyImage, Stream, compressed_of, image_of, scene
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from rig import Rig
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dfanet_ros.image_messages import ENCODINGS

UINT32 = st.integers(0, 2**32 - 1)
SMALL = (24, 32)  # bytes are changed anywhere in a message: in small ones, the header and the sizes are hit, too


@st.composite
def headers(draw: st.DrawFn) -> Header:
    """Any stamp, also before 0 and with more than a second of nanoseconds; any text."""
    header = Header(
        frame_id=draw(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
    )
    header.stamp.sec = draw(st.integers(-(2**31), 2**31 - 1))
    header.stamp.nanosec = draw(UINT32)
    return header


@st.composite
def _changed_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes differ, and some are missing or too many at the end or somewhere else."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(0, 4))):
        # The first 64 bytes are the most interesting.
        position = draw(st.integers(0, min(63, len(changed) - 1)) | st.integers(0, len(changed) - 1))
        changed[position] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    cut = draw(st.sampled_from(["", "", "end", "longer", "middle"]))
    place = draw(st.integers(0, len(changed)))
    if cut == "end":
        del changed[place:]
    elif cut == "middle":
        del changed[place : place + draw(st.integers(0, 9))]
    elif cut == "longer":
        changed[place:place] = draw(st.binary(max_size=40))
    return bytes(changed)


@st.composite
def raw_images(draw: st.DrawFn) -> Image:
    """An image whose fields are right, nearly right, or anything."""
    encoding = draw(st.sampled_from(ENCODINGS))
    size = draw(st.sampled_from([SMALL, (25, 33), (2, 2), (1, 7), SIZE]))
    image = image_of(scene(draw(st.integers(0, 3)), size).red, encoding, draw(st.integers(0, 5)))
    image.header = draw(headers())
    for field in draw(st.sets(st.sampled_from(["encoding", "height", "width", "step", "is_bigendian", "data"]))):
        if field == "encoding":
            image.encoding = draw(st.sampled_from(ENCODINGS) | st.text(st.characters(codec="ascii"), max_size=9))
        elif field == "data":
            length = draw(st.integers(0, len(image.data)))
            image.data = image.data[:length] if draw(st.booleans()) else image.data + image.data[:length]
        elif field == "is_bigendian":
            image.is_bigendian = draw(st.integers(0, 255))
        else:
            near = st.integers(0, 2 * getattr(image, field))
            setattr(image, field, draw(near | near | UINT32))
    return image


@st.composite
def compressed_images(draw: st.DrawFn) -> CompressedImage:
    """JPEG and PNG with changed bytes, or garbage that may begin as they do."""
    kind = draw(st.sampled_from(["png", "jpeg"]))
    data = bytes(compressed_of(draw(st.integers(0, 3)), SMALL, kind).data)
    if draw(st.integers(0, 3)):
        data = draw(_changed_bytes(data))
    else:
        data = draw(st.sampled_from([b"", data[:2], data[:8], data[:30]])) + draw(st.binary(max_size=200))
    formats = st.sampled_from([kind, "", "bgr8; jpeg compressed bgr8", "16UC1; compressedDepth png"])
    return CompressedImage(header=draw(headers()), format=draw(formats), data=array("B", data))


def strange_messages(compressed: bool) -> st.SearchStrategy[AnyImage | bytes]:
    """Messages with odd fields, and serialised messages with changed bytes."""
    if compressed:
        right = compressed_of(0, SMALL)
        fields: st.SearchStrategy[AnyImage] = compressed_images()
    else:
        right = image_of(scene(0, SMALL).red)
        fields = raw_images()
    right.header.frame_id = "a frame"
    return fields | _changed_bytes(serialize_message(right))


def send_strange_messages(rig: Rig, count: int) -> dict[str, int]:
    """Random and mutated messages, half of them compressed ones; good frames between them have right masks.

    Returns:
        How many were sent and what became of these, by the names of the counters; `dropped` ones are those that DDS
        did not deliver.
    """
    totals: dict[str, int] = defaultdict(int)
    for stream in rig.streams:
        before, all_before = rig.counters(stream), stream.sent
        strange = _send_strange(rig, stream, count // 2)
        good = stream.sent - all_before - strange
        totals["sent"] += strange
        for name, value in rig.counters(stream).items():
            totals[name] += value - before[name] - (good if name in ("received", "published") else 0)
    totals["dropped"] = totals["sent"] - totals["received"]
    assert totals["failed"] == 0, f"some were neither refused nor segmented: {totals}"
    return totals


def _send_strange(rig: Rig, stream: Stream, count: int) -> int:
    sent = 0

    # Neither remembered nor shrunk: a node that one message has broken tells nothing of the next.
    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strange_messages(stream.compressed))
    def send(message: AnyImage | bytes) -> None:
        nonlocal sent
        sent += 1
        stream.send_strange(message)
        rig.idle(0.003)  # else most of them would be superseded, unread
        if sent % 20 == 0:
            stream.exchange()
            assert rig.node.process.poll() is None and not stream.wrong, (message, stream.wrong[:5], rig.node.text)

    send()
    stream.exchange()
    return sent
