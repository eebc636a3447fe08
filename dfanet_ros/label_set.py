"""Classes, their names and their colours."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

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

    def ids_of(self, names: Sequence[str]) -> list[int]:
        """The ids of the classes with these names, in the order of the names.

        Raises:
            ValueError: there is no class of a name; the sentence says which there are.
        """
        return [self._id_of(name) for name in names]

    def with_colors(self, entries: Sequence[str]) -> LabelSet:
        """The same classes, some in other colours.

        Args:
            entries: a class and its colour each, like `road=#804080` or `road=128,64,128`; of two for the same class,
                the second counts.

        Raises:
            ValueError: an entry of another form, a class that does not exist, or a value outside 0..255.
        """
        labels = list(self.labels)
        for entry in entries:
            name, color = _name_and_color(entry)
            labels[self._id_of(name)] = Label(name, color)
        return LabelSet(self.name, tuple(labels))

    def to_json(self) -> str:
        """The classes as JSON.

        `{"label_set": "camvid", "classes": [{"class_id": 0, "class_name": "sky", "color": [128, 128, 128]}, ...],
        "unlabelled": 255}`
        """
        classes = [
            {"class_id": number, "class_name": label.name, "color": label.color}
            for number, label in enumerate(self.labels)
        ]
        return json.dumps({"label_set": self.name, "classes": classes, "unlabelled": UNLABELLED})

    def _id_of(self, name: str) -> int:
        if name in self.names:
            return self.names.index(name)
        near = get_close_matches(name.lower(), self.names, 1)
        guess = f" (did you mean '{near[0]}'?)" if near else ""
        raise ValueError(f"there is no class '{name}'{guess}: the classes of {self.name} are {', '.join(self.names)}")


_HEX = re.compile("#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", re.IGNORECASE)
_DECIMAL = re.compile(r"\s*,\s*".join(3 * ["(-?[0-9]{1,9})"]))


def _name_and_color(entry: str) -> tuple[str, tuple[int, int, int]]:
    """The two parts of `name=#rrggbb` or `name=red,green,blue`."""
    name, color = (part.strip() for part in entry.rpartition("=")[::2])
    if found := _HEX.fullmatch(color):
        red, green, blue = (int(value, 16) for value in found.groups())
    elif found := _DECIMAL.fullmatch(color):
        red, green, blue = (int(value) for value in found.groups())
    if not found or not name:
        raise ValueError(f"'{entry}' has to be a class and its colour, like road=#804080 or road=128,64,128")
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise ValueError(f"'{entry}' has a value outside 0..255: red, green and blue have to lie in that range")
    return name, (red, green, blue)


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
