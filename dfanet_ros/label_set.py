"""Classes, their names and their colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNLABELLED = 255


@dataclass(frozen=True)
class Label:
    """One class: its name and its colour (red, green, blue; 0..255)."""

    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class LabelSet:
    """The classes of a data set; a class's id is its position. 255 is unlabelled in every set."""

    name: str
    labels: tuple[Label, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> list[str]:
        return [label.name for label in self.labels]

    def palette(self) -> NDArray[np.uint8]:
        """Colours by id, (256, 3) uint8 RGB; black where there is no class."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = [label.color for label in self.labels]
        return table


def _label_set(name: str, **colors: tuple[int, int, int]) -> LabelSet:
    return LabelSet(name, tuple(Label(label.replace("_", " "), color) for label, color in colors.items()))


CAMVID = _label_set(
    "camvid",
    sky=(128, 128, 128),
    building=(128, 0, 0),
    pole=(192, 192, 128),
    road=(128, 64, 128),
    pavement=(0, 0, 192),
    tree=(128, 128, 0),
    sign=(192, 128, 128),
    fence=(64, 64, 128),
    car=(64, 0, 128),
    pedestrian=(64, 64, 0),
    bicyclist=(0, 128, 192),
)

CITYSCAPES = _label_set(
    "cityscapes",
    road=(128, 64, 128),
    sidewalk=(244, 35, 232),
    building=(70, 70, 70),
    wall=(102, 102, 156),
    fence=(190, 153, 153),
    pole=(153, 153, 153),
    traffic_light=(250, 170, 30),
    traffic_sign=(220, 220, 0),
    vegetation=(107, 142, 35),
    terrain=(152, 251, 152),
    sky=(70, 130, 180),
    person=(220, 20, 60),
    rider=(255, 0, 0),
    car=(0, 0, 142),
    truck=(0, 0, 70),
    bus=(0, 60, 100),
    train=(0, 80, 100),
    motorcycle=(0, 0, 230),
    bicycle=(119, 11, 32),
)

STREET_SCENES = _label_set(
    "street_scenes",
    sky=(70, 130, 180),
    building=(128, 64, 64),
    road=(128, 64, 128),
    pavement=(244, 35, 232),
    tree=(107, 142, 35),
    pole=(220, 220, 0),
    car=(0, 0, 200),
    pedestrian=(220, 20, 60),
)
