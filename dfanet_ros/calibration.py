"""A camera's calibration from a file, as camera_info_manager and the calibrators of ROS write it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from sensor_msgs.msg import CameraInfo

LARGEST = 2**16  # pixels each way
MATRICES = {"camera_matrix": ("k", 9), "rectification_matrix": ("r", 9), "projection_matrix": ("p", 12)}


class CalibrationError(ValueError):
    """A calibration that cannot be used; the text names the file and says what is wrong."""


def load_calibration(url: str) -> CameraInfo:
    """A camera's calibration, without header.

    Args:
        url: of a YAML file, with or without `file://` in front.

    Raises:
        CalibrationError: there is no such file, or it is no calibration.
    """
    path = _path(url)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"the calibration {path} cannot be read: {error}") from error
    try:
        return _camera_info(yaml.safe_load(text))
    except (ValueError, yaml.YAMLError) as error:
        raise CalibrationError(f"{path} is not a camera's calibration: {error}") from error


def _path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme not in ("", "file"):
        raise CalibrationError(f"camera_info_url is '{url}', but has to be a file: a path, or file:///...")
    return Path(unquote(parts.path) if parts.scheme else url).expanduser()


def _camera_info(content: Any) -> CameraInfo:
    if not isinstance(content, Mapping):
        raise ValueError("it is not a mapping of keys to values")
    height, width = (_field(content, name, int) for name in ("image_height", "image_width"))
    if not 0 < height <= LARGEST or not 0 < width <= LARGEST:
        raise ValueError(f"its size is {width} x {height}, but has to be from 1 x 1 to {LARGEST} x {LARGEST} pixels")
    info = CameraInfo(
        height=height,
        width=width,
        distortion_model=_field(content, "distortion_model", str),
        d=_numbers(content, "distortion_coefficients", None),
    )
    for name, (field, count) in MATRICES.items():
        setattr(info, field, _numbers(content, name, count))
    return info


def _numbers(content: Mapping[Any, Any], name: str, count: int | None) -> list[float]:
    data = _field(_field(content, name, Mapping), "data", list)
    if not all(type(value) in (int, float) for value in data):
        raise ValueError(f"{name} has something other than numbers")
    if count is not None and len(data) != count:
        raise ValueError(f"{name} has {len(data)} numbers, but has to have {count}")
    return [float(value) for value in data]


def _field(content: Mapping[Any, Any], name: str, kind: type[Any]) -> Any:
    if name not in content:
        raise ValueError(f"it has no {name}")
    if not isinstance(content[name], kind):
        raise ValueError(f"{name} is {content[name]!r}, which is no {kind.__name__.lower()}")
    return content[name]
