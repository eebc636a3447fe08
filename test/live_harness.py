"""A viewer's process, and what stands on its two sides: a node with cameras over DDS, and browsers without a screen."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_harness import Peer
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from dfanet_ros import transports
from dfanet_ros.image_messages import message_from_pixels
from dfanet_ros.label_set import CAMVID

Size = tuple[int, int]  # height and width
SMALL: Size = (48, 64)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class LiveProcess:
    """Python with a program that serves the page, as a context manager; with `url` once it does."""

    def __init__(
        self, domain: int, log: Path, *arguments: str, program: tuple[str, str] = ("-m", "dfanet_ros.live.view")
    ) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, *program, "--port", "0", *arguments],
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "ROS_DOMAIN_ID": str(domain), transports.VARIABLE: transports.LARGE_DATA},
        )

    def __enter__(self) -> LiveProcess:
        end = time.monotonic() + 60
        while not (found := re.search(r"open (http://\S+) in", self.text)):
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise AssertionError(f"it does not serve; it said:\n{self.text}")
            time.sleep(0.05)
        self.url = found[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def text(self) -> str:
        return self.log.read_text()


def steady_port() -> int:
    """A free port that stays free: the system gives it to nobody who asks for any, as it does with those from 0."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


def picture_of(number: int, size: Size = SMALL) -> NDArray[np.uint8]:
    """The image of a frame: RGB (H, W, 3), of one colour, which JPEG keeps."""
    return np.full((*size, 3), (10 + 7 * (number % 32), 128, 255 - 7 * (number % 32)), np.uint8)


def mask_of(number: int, size: Size = SMALL) -> NDArray[np.uint8]:
    """The ids of a frame: every value there is, in a pattern that no other frame has."""
    return (np.arange(size[0] * size[1]).reshape(size) * 7 + number).astype(np.uint8)


def confidence_of(number: int, size: Size = SMALL) -> NDArray[np.uint8]:
    """The confidences of a frame: noise."""
    return np.random.default_rng(number).integers(0, 256, size, np.uint8)


class Stage:
    """Cameras and what a segmentation node publishes of them, frame by frame, at will."""

    def __init__(self, peer: Peer, *cameras: str, compressed: bool = False, size: Size = SMALL) -> None:
        self.peer = peer
        self.size = size
        self.compressed = compressed
        self.publishers: dict[str, dict[str, Any]] = {}  # by camera and kind
        for camera in cameras:
            topic, kind = (
                (f"{camera}/image_raw/compressed", CompressedImage) if compressed else (f"{camera}/image_raw", Image)
            )
            peer.node.create_subscription(kind, topic, lambda _: None, 1)  # as the node has it
            self.publishers[camera] = {
                "image": peer.publisher(topic, kind=kind),
                "mask": peer.publisher(f"{camera}/segmentation/mask"),
                "confidence": peer.publisher(f"{camera}/segmentation/confidence"),
            }
            labels = peer.node.create_publisher(String, f"{camera}/segmentation/label_info_json", LATCHED)
            labels.publish(String(data=CAMVID.to_json()))

    def publish(self, camera: str, number: int, *kinds: str) -> None:
        """Publish some parts of a frame (all, if none is named); its stamp is its number in seconds."""
        header = Header(frame_id=camera)
        header.stamp.sec, header.stamp.nanosec = number, 7
        for kind in kinds or ("image", "confidence", "mask"):
            if kind == "image" and self.compressed:
                message: Any = CompressedImage(header=header, format="jpeg", data=jpeg_of(number))
            elif kind == "image":
                message = message_from_pixels(picture_of(number, self.size), "rgb8", header)
            else:
                plane = {"mask": mask_of, "confidence": confidence_of}[kind](number, self.size)
                message = message_from_pixels(plane, "mono8", header)
            self.publishers[camera][kind].publish(message)

    async def play(self, *cameras: str, rate: float = 25.0) -> None:
        """Publish frame after frame, until it is cancelled."""
        number = 0
        while True:
            number += 1
            for camera in cameras:
                self.publish(camera, number)
            await asyncio.sleep(1 / rate)

    def watched(self, camera: str) -> set[str]:
        """What the viewer subscribes to of a camera."""
        topics = {kind: publisher.topic_name for kind, publisher in self.publishers[camera].items()}
        topics["labels"] = f"{camera}/segmentation/label_info_json"
        return {
            kind
            for kind, topic in topics.items()
            if any(info.node_name == "live_view" for info in self.peer.node.get_subscriptions_info_by_topic(topic))
        }


def jpeg_of(number: int) -> bytes:
    """The image of a frame as a camera's JPEG."""
    return cv2.imencode(".jpg", picture_of(number)[:, :, ::-1])[1].tobytes()


@dataclass
class Packet:
    """What came, taken apart."""

    data: bytes
    header: dict[str, Any]
    jpeg: bytes
    planes: NDArray[np.uint8]  # (planes, H, W)

    @classmethod
    def of(cls, data: bytes) -> Packet:
        start = 4 + int.from_bytes(data[:4], "little")
        header = json.loads(data[4:start])
        middle = start + header["picture_bytes"]
        assert len(data) == middle + header["planes_bytes"]
        rows = np.frombuffer(zlib.decompress(data[middle:]), np.uint8).reshape(-1, header["width"])
        planes = np.cumsum(rows, axis=0, dtype=np.uint8)
        return cls(data, header, data[start:middle], planes.reshape(-1, header["height"], header["width"]))

    @property
    def number(self) -> int:
        """By its stamp."""
        seconds, _, fraction = self.header["stamp"].partition(".")
        assert fraction == "000000007"
        return int(seconds)

    def check(self) -> None:
        """Image, mask and confidence are those of the stamp; ids and confidences exactly."""
        number, size = self.number, (self.header["height"], self.header["width"])
        assert (self.planes[0] == mask_of(number, size)).all()
        assert (self.planes[1] == confidence_of(number, size)).all()
        picture = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        assert np.abs(picture.astype(int) - picture_of(number, size)).max() <= 4


class Browser:
    """One page's connection; the same commands as its JavaScript's."""

    def __init__(self, url: str, **headers: str) -> None:
        self._url = url
        self._headers = headers

    async def __aenter__(self) -> Browser:
        self._session = aiohttp.ClientSession()
        self.socket = await self._session.ws_connect(f"{self._url}/stream", headers=self._headers, max_msg_size=0)
        self.state: dict[str, Any] = {}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()
        await self._session.close()

    async def ask(self) -> None:
        await self.socket.send_json({"next": True})

    async def choose(self, camera: str) -> None:
        await self.socket.send_json({"camera": camera})

    async def frame(self, timeout: float = 60.0) -> Packet:
        """Ask for a frame and wait for it."""
        await self.ask()
        return await self.packet(timeout)

    async def packet(self, timeout: float = 60.0) -> Packet:
        """The next frame that comes."""

        async def receive() -> Packet:
            while True:
                message = await self.socket.receive()
                if message.type == aiohttp.WSMsgType.BINARY:
                    return Packet.of(message.data)
                assert message.type == aiohttp.WSMsgType.TEXT, message
                self.state = json.loads(message.data)

        return await asyncio.wait_for(receive(), timeout)

    async def until(self, fits: Callable[[dict[str, Any]], bool], timeout: float = 60.0) -> dict[str, Any]:
        """The first state that fits; frames are dropped."""
        end = time.monotonic() + timeout
        while not (self.state and fits(self.state)):
            assert time.monotonic() < end, self.state
            message = await asyncio.wait_for(self.socket.receive(), timeout)
            if message.type == aiohttp.WSMsgType.TEXT:
                self.state = json.loads(message.data)
        return self.state


async def eventually(condition: Callable[[], Any], timeout: float = 60.0) -> None:
    """Wait for what will be so."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.05)
