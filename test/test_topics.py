"""Where images come from and where results go, by name."""

from __future__ import annotations

import pytest

from dfanet_ros.topics import camera_namespace, input_topic, output_namespace, refuse_clashes


@pytest.mark.parametrize(
    ("topic", "transport", "expected"),
    [
        ("/camera/image_raw", "auto", ("/camera/image_raw", False)),
        ("/camera/image_raw", "raw", ("/camera/image_raw", False)),
        ("/camera/image_raw", "compressed", ("/camera/image_raw/compressed", True)),
        ("/camera/image_raw/compressed", "auto", ("/camera/image_raw/compressed", True)),
        ("/camera/image_raw/compressed", "compressed", ("/camera/image_raw/compressed", True)),
        ("/camera/compressed", "raw", ("/camera/compressed", False)),
    ],
)
def test_transports(topic: str, transport: str, expected: tuple[str, bool]) -> None:
    assert input_topic(topic, transport) == expected


def test_results_lie_beside_the_images() -> None:
    assert camera_namespace("/front/image_raw") == camera_namespace("/front/image_raw/compressed") == "/front"
    assert output_namespace("/front/image_raw/compressed") == "/front/segmentation"
    assert output_namespace("/image") == "/segmentation"


def test_results_in_one_place_are_refused() -> None:
    refuse_clashes(["/left/image_raw", "/right/image_raw"])
    with pytest.raises(ValueError, match="2 of these would publish to /left/segmentation/mask"):
        refuse_clashes(["/left/image_raw", "/left/image_raw/compressed", "/right/image_raw"])
