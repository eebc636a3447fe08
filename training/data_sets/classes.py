"""The values and colours that stand for classes on disk, and the label sets that the robot needs nothing of."""

from __future__ import annotations

from dfanet_ros.label_set import CAMVID, CITYSCAPES, UNLABELLED, Label, LabelSet
from training.data_sets.files import Color

# By value in *_labelIds.png, as in the Cityscapes scripts (labels.py); the other values up to 33 are left out of the
# evaluation there.
CITYSCAPES_VALUES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
CITYSCAPES_IDS = dict.fromkeys(range(34), UNLABELLED) | {
    value: CITYSCAPES.names.index(name) for name, value in CITYSCAPES_VALUES.items()
}

# The 32 colours of CamVid (Brostow, Fauqueur and Cipolla, 2009: label_colors.txt), grouped into the 11 classes of
# SegNet (Badrinarayanan, Kendall and Cipolla, 2017) as MathWorks' example of SegNet on CamVid lists them.
CAMVID_COLORS: dict[str, dict[str, Color]] = {
    "sky": {"Sky": (128, 128, 128)},
    "building": {
        "Building": (128, 0, 0),
        "Archway": (192, 0, 128),
        "Bridge": (0, 128, 64),
        "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    "pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "road": {"Road": (128, 64, 128), "LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64)},
    "pavement": {"Sidewalk": (0, 0, 192), "ParkingBlock": (64, 192, 128), "RoadShoulder": (128, 128, 192)},
    "tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "sign": {"SignSymbol": (192, 128, 128), "Misc_Text": (128, 128, 64), "TrafficLight": (0, 64, 64)},
    "fence": {"Fence": (64, 64, 128)},
    "car": {
        "Car": (64, 0, 128),
        "SUVPickupTruck": (64, 128, 192),
        "Truck_Bus": (192, 128, 192),
        "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    "pedestrian": {
        "Pedestrian": (64, 64, 0),
        "Child": (192, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Animal": (64, 128, 64),
    },
    "bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}
CAMVID_IDS: dict[Color, int] = {(0, 0, 0): UNLABELLED} | {  # Void
    color: CAMVID.names.index(name) for name, colors in CAMVID_COLORS.items() for color in colors.values()
}


def color_ids(labels: LabelSet, unlabelled: Color) -> dict[Color, int]:
    """Ids by colour, for a data set whose label files have the classes' own colours."""
    return {label.color: number for number, label in enumerate(labels.labels)} | {unlabelled: UNLABELLED}


# The list of the Virtual KITTI 2 download (Scene*/*/colors.txt); black is "Undefined". In version 1 GuardRail was
# (255, 100, 255) and each car had a colour of its own.
VIRTUAL_KITTI = LabelSet(
    "virtual_kitti",
    (
        Label("terrain", (210, 0, 200)),
        Label("sky", (90, 200, 255)),
        Label("tree", (0, 199, 0)),
        Label("vegetation", (90, 240, 0)),
        Label("building", (140, 140, 140)),
        Label("road", (100, 60, 100)),
        Label("guard rail", (250, 100, 255)),
        Label("traffic sign", (255, 255, 0)),
        Label("traffic light", (200, 200, 0)),
        Label("pole", (255, 130, 0)),
        Label("misc", (80, 80, 80)),
        Label("truck", (160, 60, 60)),
        Label("car", (255, 127, 80)),
        Label("van", (0, 139, 139)),
    ),
)
VIRTUAL_KITTI_IDS = color_ids(VIRTUAL_KITTI, unlabelled=(0, 0, 0))


def voc_color(index: int) -> Color:
    """Of the palette of PASCAL VOC (its devkit's VOClabelcolormap).

    Bits 0, 1, 2 of the index are the highest bits of red, green and blue, the next three the second highest, and so on.
    """
    red, green, blue = (
        sum((index >> (3 * place + channel) & 1) << (7 - place) for place in range(3)) for channel in range(3)
    )
    return red, green, blue


def voc_colored(set_name: str, names: str, first: int) -> LabelSet:
    """The classes of these names (with commas between), in the colours of that palette from `first` on."""
    return LabelSet(
        set_name, tuple(Label(name, voc_color(index)) for index, name in enumerate(names.split(", "), start=first))
    )


# Of the devkit of PASCAL VOC 2012 (Everingham et al.); 255, the border of the objects, is (224, 224, 192).
VOC = voc_colored(
    "voc",
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, horse, "
    "motorbike, person, potted plant, sheep, sofa, train, tv monitor",
    first=0,
)
VOC_IDS = color_ids(VOC, unlabelled=voc_color(UNLABELLED))

# Of COCO-Stuff (Caesar, Uijlings and Ferrari, 2018): labels.txt numbers them from 1 to 182, the label files have these
# numbers less 1. No pixel has the 11 classes of COCO that were never annotated: street sign, hat, shoe, eye glasses,
# plate, mirror, window, desk, door, blender, hair brush. There are no official colours: those of VOC are taken.
COCO_STUFF = voc_colored(
    "coco_stuff",
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, "
    "mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, "
    "teddy bear, hair drier, toothbrush, "
    "banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, "
    "ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, "
    "floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, "
    "grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, "
    "net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, "
    "roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, "
    "structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, "
    "wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood",
    first=1,  # black is left to unlabelled
)
COCO_STUFF_UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
COCO_STUFF_IDS = {
    value: number for number, value in enumerate(value for value in range(182) if value not in COCO_STUFF_UNUSED)
}
