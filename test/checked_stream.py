"""A camera played by the test, whose every mask is compared with its own frame: header, size and content."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import cv2
import numpy as np
from brightness import blocks
from numpy.typing import NDArray
from rclpy.publisher import Publisher
from rclpy.serialization import deserialize_message, serialize_message
from ros_harness import Peer
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dfanet_ros.image_messages import message_from_pixels

SIZE = (96, 128)  # of the scenes and of the network's input
SCENES = 32
REMEMBERED = 5000  # frames

AnyImage: TypeAlias = Image | CompressedImage
Key: TypeAlias = tuple[int, int, str]  # all that a header has


@dataclass(frozen=True)
class Scene:
    """Attributes:
    red: (H, W) uint8.
    ids: the right mask, (H, W) uint8.
    certain: where the mask has to be right, (H, W).
    """

    red: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    certain: NDArray[np.bool_]


@cache
def scene(number: int, size: tuple[int, int] = SIZE) -> Scene:
    """One of `SCENES` scenes, which looks the same at every size; in small ones no pixel is certain."""
    red, ids, certain = blocks(*SIZE, seed=number % SCENES)
    rows, columns = (((np.arange(n) + 0.5) * full / n).astype(int) for n, full in zip(size, SIZE, strict=True))
    seen = np.full(size, min(size) >= 90) & certain[rows][:, columns]
    return Scene(red[rows][:, columns], ids[rows][:, columns], seen)


def image_of(red: NDArray[np.uint8], encoding: str = "mono8", padding: int = 0, big_endian: bool = False) -> Image:
    """An image with `red` (H, W) in its red channel, or as grey as that, and `padding` bytes after each row."""
    noise = np.random.default_rng(0).integers(0, 255, red.shape, np.uint8)
    luma = (red * (219 / 255) + 16).round().astype(np.uint8)
    grey = np.full_like(red, 128)
    low = noise // 4  # not enough to round up
    channels = {
        "rgb8": [red, noise, noise],
        "bgr8": [noise, noise, red],
        "rgba8": [red, noise, noise, noise],
        "bgra8": [noise, noise, red, noise],
        "mono16": [red, low] if big_endian else [low, red],
        "yuv422": [grey, luma],
        "uyvy": [grey, luma],
        "yuv422_yuy2": [luma, grey],
        "yuyv": [luma, grey],
    }
    pixels = np.stack(channels.get(encoding, [red]), 2)
    rows = np.pad(pixels.reshape(red.shape[0], -1), ((0, 0), (0, padding)), constant_values=0xEE)
    image = message_from_pixels(rows, encoding, Header())
    image.width, image.is_bigendian = red.shape[1], int(big_endian)
    return image


@cache
def _packed(number: int, size: tuple[int, int], kind: str) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, 100] if kind == "jpeg" else []
    done, data = cv2.imencode(f".{kind}", scene(number, size).red, options)
    assert done
    return data.tobytes()


def compressed_of(number: int, size: tuple[int, int] = SIZE, kind: str = "png") -> CompressedImage:
    """A scene as `png` or `jpeg`."""
    return CompressedImage(format=kind, data=array("B", _packed(number, size, kind)))


def key_of(header: Header) -> Key:
    return header.stamp.sec, header.stamp.nanosec, header.frame_id


@dataclass
class Expected:
    """What is known of the masks with a header: no sizes or no scene if nothing is. How many came is counted."""

    sizes: set[tuple[int, int]]
    scene: Scene | None = None
    masks: int = 0


class Stream:
    """Publishes a camera's frames and checks each mask that comes.

    Attributes:
        sent: number of messages.
        right: number of masks that had their own frame's header and content.
        numbers: of the frames that had masks with the right content, in the order in which these came.
        wrong_headers: a sentence for each mask with a header that no frame had, or not with its frame's size.
        wrong_contents: a sentence for each mask that is not that of its frame.
    """

    def __init__(self, peer: Peer, camera: str, compressed: bool = False) -> None:
        self.peer, self.camera, self.compressed = peer, camera, compressed
        self.topic = f"{camera}/image_raw/compressed" if compressed else f"{camera}/image_raw"
        self.mask_topic = f"{camera}/segmentation/mask"
        self.right = self.sent = 0
        self.numbers: list[int] = []
        self.wrong_headers: list[str] = []
        self.wrong_contents: list[str] = []
        self.publisher: Publisher = self.peer.publisher(self.topic, kind=CompressedImage if compressed else Image)
        self._expected: OrderedDict[Key, Expected] = OrderedDict()
        self._number = 0
        self._subscription = peer.node.create_subscription(Image, self.mask_topic, self._check, 10)

    def frame(
        self,
        size: tuple[int, int] = SIZE,
        encoding: str = "mono8",
        padding: int = 0,
        stamp: tuple[int, int] | None = None,
    ) -> AnyImage:
        """The next frame; its header is unlike any other's. It is expected from now on.

        Args:
            size: (height, width).
            encoding: of a raw image; `png` or `jpeg` of a compressed one (`mono8` gives `png`).
            padding: bytes after each row of a raw image.
            stamp: seconds and nanoseconds; None: some that rise from frame to frame.
        """
        self._number += 1
        here = scene(self._number, size)
        if self.compressed:
            message: AnyImage = compressed_of(self._number, size, "png" if encoding == "mono8" else encoding)
        else:
            message = image_of(here.red, encoding, padding, big_endian=self._number % 2 == 0)
        message.header.frame_id = f"{self.camera} {self._number}"
        rising = 1_000_000 + self._number, 1_000 * self._number
        message.header.stamp.sec, message.header.stamp.nanosec = rising if stamp is None else stamp
        self._expect(message.header, Expected({size}, here))
        return message

    def send(self, message: AnyImage | bytes) -> None:
        self.publisher.publish(message)
        self.sent += 1

    def send_strange(self, message: AnyImage | bytes) -> None:
        """Send what may be no image at all: a mask of it is right if it has the header that DDS delivers."""
        kind = CompressedImage if self.compressed else Image
        raw = message if isinstance(message, bytes) else serialize_message(message)
        try:
            delivered = deserialize_message(raw + bytes(-len(raw) % 4), kind)  # RTPS fills up to four bytes
        except Exception:  # nobody gets it
            delivered = None
        if delivered is not None:
            expected = self._expected.get(key_of(delivered.header)) or Expected(set())
            if not self.compressed:
                expected.sizes.add((delivered.height, delivered.width))
            self._expect(delivered.header, expected)
        self.send(message)

    def exchange(self, message: AnyImage | None = None, timeout: float = 60.0) -> None:
        """Send a frame (the next one) until its mask has come: at first nobody may have been matched."""
        message = self.frame() if message is None else message
        expected = self._expected[key_of(message.header)]
        before = expected.masks
        tries = 0
        while expected.masks == before and tries < timeout / 2:
            tries += 1
            self.send(message)
            self.peer.spin_until(lambda: expected.masks > before, 2.0)
        assert expected.masks > before, f"no mask of '{message.header.frame_id}' came in {timeout:.0f} s"

    def _expect(self, header: Header, expected: Expected) -> None:
        self._expected[key_of(header)] = expected
        while len(self._expected) > REMEMBERED:
            self._expected.popitem(last=False)

    @property
    def wrong(self) -> list[str]:
        return self.wrong_headers + self.wrong_contents

    def _check(self, mask: Image) -> None:
        key = key_of(mask.header)
        what = f"the mask with header {key}, {mask.height} x {mask.width}"
        expected = self._expected.get(key)
        if expected is None:
            self.wrong_headers.append(f"{what}, is of no frame")
            return
        expected.masks += 1
        has_size = not expected.sizes or (mask.height, mask.width) in expected.sizes
        if not has_size or (mask.encoding, mask.step) != ("mono8", mask.width):
            self.wrong_headers.append(f"{what} ({mask.encoding}, step {mask.step}), should have size {expected.sizes}")
            return
        if expected.scene is not None:
            given = np.frombuffer(mask.data, np.uint8).reshape(mask.height, mask.width)
            wrong = np.count_nonzero((given != expected.scene.ids) & expected.scene.certain)
            if wrong:
                self.wrong_contents.append(f"{what}, differs from its frame in {wrong} pixels")
                return
            self.numbers.append(int(mask.header.frame_id.rpartition(" ")[2]))
        self.right += 1

    def destroy(self) -> None:
        """Take publisher and subscription back."""
        self.peer.node.destroy_publisher(self.publisher)
        self.peer.node.destroy_subscription(self._subscription)
