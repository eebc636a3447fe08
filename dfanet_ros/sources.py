"""Where frames come from, without ROS: a webcam, a video, a folder of images, or generated street scenes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dfanet_ros.frame import Frame
from dfanet_ros.image_files import open_folder
from dfanet_ros.pixels import resize_frame, resize_labels
from dfanet_ros.street_scenes import StreetScenes

STREET_SCENES = "street_scenes"
RATE = 10.0  # frames a second of what has no rate of its own
VIDEO_RATE = 30.0  # of a video that does not say
SEED = 7  # of the generated scenes; the trainer takes others, so the network has seen none of these
SCENES = 60  # after which they begin again
SCENES_KEPT = 256 * 2**20  # bytes of them: to draw one again would take as long as to segment it
SMALLEST_SCENE = 64  # pixels

Ids = NDArray[np.uint8]  # (H, W), 255 is unlabelled


class SourceError(ValueError):
    """A source that cannot be used; the text says why and what can."""


class SourceLost(SourceError):
    """A source that gave frames and may give some again."""


@dataclass(frozen=True)
class Picture:
    """A frame and, where there is one, its label.

    Attributes:
        frame: in rgb8 or bgr8.
        ids: of the frame's size.
    """

    frame: Frame
    ids: Ids | None = None


class Source(Protocol):
    """Gives frames.

    Attributes:
        rate: frames a second that are natural to it; 0: they come by themselves.
        labelled: whether frames have labels.
    """

    rate: float
    labelled: bool

    def pictures(self) -> Iterator[Picture]:
        """All frames from the beginning; of a webcam, from now on.

        Raises:
            SourceLost: they have stopped to come; calling this again may help.
            ValueError: a frame cannot be read.
        """

    def close(self) -> None:
        """Give back what it has opened."""


def open_source(name: str, height: int = 0, width: int = 0, rate: float = 0.0) -> Source:
    """The source of that name.

    Args:
        name: `street_scenes`, a webcam's number or device, a video file, or a folder of images.
        height: in pixels; 0, as `width` then is too: the source's own.
        width: in pixels.
        rate: frames a second that a webcam is asked for; 0: its own.

    Raises:
        ValueError: there is no such source, or it cannot be read.
    """
    if (height > 0) != (width > 0):
        raise SourceError(f"height is {height} and width {width}: give both in pixels, or 0 for the source's own")
    size = (height, width) if height else None
    if name == STREET_SCENES:
        return Scenes(size)
    if name.isdecimal() or name.startswith("/dev/"):
        return Webcam(f"/dev/video{int(name)}" if name.isdecimal() else name, size, rate)
    path = Path(name).expanduser()
    if path.is_dir():
        return Folder(path, size)
    if path.is_file():
        return Video(path, size)
    raise SourceError(
        f"source is '{name}', but there is no such file or folder: give {STREET_SCENES}, a webcam (its number, or "
        "/dev/video0), a video, or a folder of images"
    )


class Scenes:
    """Generated street scenes with labels, of the generator's size unless another is given (height, width)."""

    rate = RATE
    labelled = True

    def __init__(self, size: tuple[int, int] | None) -> None:
        if size is not None and min(size) < SMALLEST_SCENE:
            raise SourceError(
                f"{STREET_SCENES} are to be {size[1]} x {size[0]}, but have at least {SMALLEST_SCENE} pixels each way"
            )
        self._scenes = StreetScenes(SCENES, *size, seed=SEED) if size else StreetScenes(SCENES, seed=SEED)
        self._kept: list[Picture] = []
        self._room = SCENES_KEPT

    def pictures(self) -> Iterator[Picture]:
        """See `Source`."""
        for number in range(len(self._scenes)):
            if number < len(self._kept):
                yield self._kept[number]
                continue
            image, ids = self._scenes[number]
            picture = Picture(Frame(image), ids)
            self._room -= image.nbytes + ids.nbytes
            if self._room >= 0:
                self._kept.append(picture)
            yield picture

    def close(self) -> None:
        """See `Source`."""


class Folder:
    """Images in the order of the numbers in their names, with their labels if these lie beside (see `open_folder`)."""

    rate = RATE

    def __init__(self, path: Path, size: tuple[int, int] | None) -> None:
        self._images = open_folder(path)
        self._size = size
        self.labelled = any(label is not None and label.is_file() for label in self._images.labels)

    def pictures(self) -> Iterator[Picture]:
        """See `Source`."""
        for number in range(len(self._images)):
            image, ids = self._images[number]
            size = self._size or image.shape[:2]
            yield Picture(Frame(resize_frame(image, size)), None if ids is None else resize_labels(ids, size))

    def close(self) -> None:
        """See `Source`."""


class Video:
    """A video file that OpenCV can read."""

    labelled = False

    def __init__(self, path: Path, size: tuple[int, int] | None) -> None:
        self._path = path
        self._size = size
        capture = self._open()
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if math.isfinite(rate) and 0 < rate <= 1000 else VIDEO_RATE
        readable, _ = capture.read()
        capture.release()
        if not readable:
            raise self._unreadable()

    def pictures(self) -> Iterator[Picture]:
        """See `Source`."""
        capture = self._open()
        try:
            while True:
                given, image = capture.read()
                if not given:
                    return
                pixels = image.astype(np.uint8, copy=False)
                yield Picture(Frame(resize_frame(pixels, self._size or pixels.shape[:2]), "bgr8"))
        finally:
            capture.release()

    def close(self) -> None:
        """See `Source`."""

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise self._unreadable()
        return capture

    def _unreadable(self) -> SourceError:
        return SourceError(f"{self._path} is not a video that OpenCV can read")


class Webcam:
    """A camera of Video4Linux, by its device.

    The driver is asked for size and rate, and gives what it has that is nearest.
    """

    rate = 0.0
    labelled = False

    def __init__(self, device: str, size: tuple[int, int] | None, rate: float) -> None:
        # Before OpenCV's first use of Video4Linux; its own 10 s would delay the end by as much.
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")
        self._device = device
        self._size = size
        self._asked_rate = rate
        self._capture: cv2.VideoCapture | None = self._open()

    def pictures(self) -> Iterator[Picture]:
        """See `Source`."""
        if self._capture is None:
            self._capture = self._open()
        while True:
            given, image = self._capture.read()
            if not given:
                self.close()
                raise SourceLost(f"webcam {self._device} gives no frames any more: is it unplugged?")
            yield Picture(Frame(image.astype(np.uint8, copy=False), "bgr8"))

    def close(self) -> None:
        """See `Source`."""
        if self._capture is not None:
            self._capture.release()
        self._capture = None

    def _open(self) -> cv2.VideoCapture:
        if not Path(self._device).exists():
            there = sorted(map(str, Path("/dev").glob("video*")))
            raise SourceLost(f"there is no webcam {self._device}; there is {' and '.join(there) or 'none at all'}")
        capture = cv2.VideoCapture(self._device, cv2.CAP_V4L2)
        if not capture.isOpened():
            raise SourceLost(
                f"webcam {self._device} cannot be opened: another program may use it, it may be no camera, or you may "
                "not read it (group video)"
            )
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one of a queue
        if self._size is not None:
            # USB has room for few large frames a second that are not compressed; who has no JPEG ignores this.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[0])
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[1])
        if self._asked_rate:
            capture.set(cv2.CAP_PROP_FPS, self._asked_rate)
        return capture
