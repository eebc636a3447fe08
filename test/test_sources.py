"""Where frames come from: their pixels, labels, sizes and rates, and what is said of a source that cannot be used."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from dfanet_ros import sources
from dfanet_ros.sources import SEED, Picture, SourceError, SourceLost, open_source
from dfanet_ros.street_scenes import StreetScenes


def write_folder(root: Path, count: int, size: tuple[int, int] = (48, 64), labelled: int = 0) -> Path:
    """Images of random pixels, `root`/images/val/0.png and so on, the first few with labels; gives their folder."""
    rng = np.random.default_rng(5)
    images, labels = root / "images/val", root / "labels/val"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(images / f"{number}.png"), rng.integers(0, 256, (*size, 3), np.uint8))
        if number < labelled:
            cv2.imwrite(str(labels / f"{number}.png"), rng.integers(0, 8, size, np.uint8))
    return images


def write_video(path: Path, count: int = 10, rate: float = 12.5, size: tuple[int, int] = (48, 64)) -> Path:
    """A video whose frame n has the brightness 20 n."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, size[::-1])
    if not video.isOpened():
        pytest.skip("this OpenCV cannot write videos")
    for number in range(count):
        video.write(np.full((*size, 3), 20 * number, np.uint8))
    video.release()
    return path


def brightness(picture: Picture) -> float:
    return float(picture.frame.pixels.mean())


def test_scenes_are_those_of_the_generator_in_every_round() -> None:
    source = open_source("street_scenes", 64, 96)
    assert (source.rate, source.labelled) == (10.0, True)
    first = list(islice(source.pictures(), 3))
    for picture, again, (image, ids) in zip(first, source.pictures(), StreetScenes(3, 64, 96, seed=SEED), strict=False):
        np.testing.assert_array_equal(picture.frame.rgb(), image)
        np.testing.assert_array_equal(picture.ids, ids)
        assert again.frame.pixels is picture.frame.pixels, "it was drawn twice"


def test_scenes_take_no_more_memory_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SCENES", 4)
    monkeypatch.setattr(sources, "SCENES_KEPT", 2 * 64 * 64 * 4)
    source = open_source("street_scenes", 64, 64)
    first, second = list(source.pictures()), list(source.pictures())
    assert len(first) == len(second) == 4
    assert [a.frame.pixels is b.frame.pixels for a, b in zip(first, second, strict=True)] == [True, True, False, False]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.frame.pixels, other.frame.pixels)


def test_folder_gives_its_images_with_the_labels_beside(tmp_path: Path) -> None:
    images = write_folder(tmp_path, 11, labelled=2)  # 10 comes after 2
    source = open_source(str(images))
    assert (source.rate, source.labelled) == (10.0, True)
    for number, picture in enumerate(source.pictures()):
        np.testing.assert_array_equal(picture.frame.rgb()[:, :, ::-1], cv2.imread(str(images / f"{number}.png")))
        if number < 2:
            label = cv2.imread(str(tmp_path / f"labels/val/{number}.png"), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(picture.ids, label)
        else:
            assert picture.ids is None
    assert number == 10


def test_folder_without_labels_has_none(tmp_path: Path) -> None:
    source = open_source(str(write_folder(tmp_path, 1)))
    assert not source.labelled
    assert next(source.pictures()).ids is None


@pytest.mark.parametrize("size", [(24, 32), (96, 128), (80, 192)], ids=str)
def test_images_are_resized_and_ids_are_those_of_the_nearest_pixels(tmp_path: Path, size: tuple[int, int]) -> None:
    path = str(write_folder(tmp_path, 2, labelled=2))
    for original, picture in zip(open_source(path).pictures(), open_source(path, *size).pictures(), strict=True):
        assert picture.frame.size == size
        assert abs(brightness(picture) - brightness(original)) < 10
        assert original.ids is not None and picture.ids is not None
        # The pixel under each new pixel's centre.
        rows, columns = (
            ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, original.ids.shape, strict=True)
        )
        np.testing.assert_array_equal(picture.ids, original.ids[rows][:, columns])


def test_video_gives_its_frames_at_its_rate_and_again(tmp_path: Path) -> None:
    source = open_source(str(write_video(tmp_path / "ten.avi")), 24, 32)
    assert (source.rate, source.labelled) == (12.5, False)
    for _ in range(2):
        pictures = list(source.pictures())
        np.testing.assert_allclose([brightness(picture) for picture in pictures], 20 * np.arange(10), atol=2)
        assert {(picture.frame.size, picture.frame.encoding) for picture in pictures} == {((24, 32), "bgr8")}


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("street_scenes", (480, 0), "height is 480 and width 0: give both in pixels, or 0"),
        ("street_scenes", (32, 640), "are to be 640 x 32, but have at least 64 pixels each way"),
        ("street_scene", (0, 0), "source is 'street_scene', but there is no such file or folder: give street_scenes, "),
        ("97", (0, 0), "there is no webcam /dev/video97; there is .+"),
        ("/dev/video98", (0, 0), "there is no webcam /dev/video98; there is .+"),
        ("/dev/null", (0, 0), "webcam /dev/null cannot be opened: another program may use it"),
        ("{empty}", (0, 0), r"there are no images \(.jpg, .jpeg, .png, .bmp\) in .*empty"),
        ("{text}", (0, 0), "text.mp4 is not a video that OpenCV can read"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, name: str, size: tuple[int, int], says: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    with pytest.raises(ValueError, match=says):
        open_source(name.format(empty=tmp_path / "empty", text=tmp_path / "text.mp4"), *size)


def test_unreadable_image_is_named(tmp_path: Path) -> None:
    images = write_folder(tmp_path, 2)
    (images / "1.png").write_text("no image")
    pictures = open_source(str(images)).pictures()
    next(pictures)
    with pytest.raises(ValueError, match=r"1\.png is not an image that OpenCV can read"):
        next(pictures)


class FakeCapture:
    """A webcam that is unplugged after three frames; only the driver is made up, for there is none here."""

    asked: dict[int, float]

    def __init__(self, device: str, api: int) -> None:
        assert api == cv2.CAP_V4L2
        FakeCapture.asked = {}
        self._left = 3

    def isOpened(self) -> bool:
        return True

    def set(self, name: int, value: float) -> None:
        self.asked[name] = value

    def read(self) -> tuple[bool, Any]:
        self._left -= 1
        return (True, np.full((48, 64, 3), self._left, np.uint8)) if self._left >= 0 else (False, None)

    def release(self) -> None:
        self._left = 0


def test_unplugged_webcam_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "cv2", SimpleNamespace(**{**vars(cv2), "VideoCapture": FakeCapture}))
    device = tmp_path / "video0"
    device.touch()
    webcam = sources.Webcam(str(device), (480, 640), 15.0)
    assert (FakeCapture.asked[cv2.CAP_PROP_FRAME_HEIGHT], FakeCapture.asked[cv2.CAP_PROP_FRAME_WIDTH]) == (480, 640)
    assert FakeCapture.asked[cv2.CAP_PROP_FPS] == 15

    def until_lost() -> tuple[list[float], str]:
        given = []
        with pytest.raises(SourceLost) as lost:
            for picture in webcam.pictures():
                given.append(brightness(picture))
        return given, str(lost.value)

    assert until_lost() == ([2, 1, 0], f"webcam {device} gives no frames any more: is it unplugged?")
    device.unlink()
    assert until_lost()[1].startswith(f"there is no webcam {device}; there is ")
    device.touch()
    assert until_lost()[0] == [2, 1, 0]
    webcam.close()
    assert issubclass(SourceLost, SourceError), "at the start it is an error like any other"
