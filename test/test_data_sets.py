"""The data sets: tiny trees in each download's layout give the right pairs, split and ids, and errors name files."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("lightning", reason="Lightning is not installed")

from dfanet_ros.image_files import ImageFileError
from dfanet_ros.label_set import CAMVID, CITYSCAPES, STREET_SCENES, LabelSet
from training.config import Config, load_config
from training.data_sets import DATA_SETS, LabelledFiles, open_part
from training.data_sets.classes import CAMVID_COLORS, CAMVID_IDS, COCO_STUFF, VIRTUAL_KITTI, VOC, VOC_IDS, voc_color
from training.data_sets.files import ColorDecoder

ROOT = Path(__file__).parents[1]
SHAPE = (8, 10)  # of all images here
NAMED = {(0, 0, 0): 255, (128, 0, 0): 1, (0, 128, 0): 2}


def write(path: Path, content: np.ndarray | int | tuple[int, int, int], shape: tuple[int, int] = SHAPE) -> Path:
    """An image file, of one id or RGB colour all over where no array is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(content, np.uint8)
    if pixels.ndim < 2:
        pixels = np.broadcast_to(pixels, shape + pixels.shape)
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    return path


def write_palette(path: Path, indices: np.ndarray, palette: list[tuple[int, int, int]]) -> Path:
    """A PNG with a palette, which OpenCV cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = indices.shape
    rows = b"".join(b"\0" + row.tobytes() for row in indices.astype(np.uint8))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colors = bytes(value for color in palette for value in color)
    content = (
        chunk(b"IHDR", header) + chunk(b"PLTE", colors) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def files(data: LabelledFiles, root: Path) -> list[tuple[str, str]]:
    return [(str(image.relative_to(root)), str(label.relative_to(root))) for image, label in data.pairs]


def ids_of(data: LabelledFiles) -> list[int]:
    """The id of each sample, whose labels have one all over."""
    found = []
    for image, ids in data:
        assert image.shape == (*SHAPE, 3) and image.dtype == ids.dtype == np.uint8 and ids.shape == SHAPE
        assert len(np.unique(ids)) == 1
        found.append(int(ids[0, 0]))
    return found


def write_parts(root: Path, *ids: int) -> Path:
    """Images and labels as `camvid`, `street_scenes` and `folder` have them: one a part."""
    for part, number in zip(("train", "val", "test"), ids, strict=False):
        write(root / "images" / part / "a.jpg", (50, 60, 70))
        write(root / "labels" / part / "a.png", number)
    return root


@pytest.mark.parametrize(("name", "labels"), [("camvid", CAMVID), ("street_scenes", STREET_SCENES)])
def test_parts_in_folders(tmp_path: Path, name: str, labels: LabelSet) -> None:
    write_parts(tmp_path, 0, 7, 255)
    write(tmp_path / "images/train/0.png", (200, 0, 0))
    write(tmp_path / "labels/train/0.png", 3)
    train, val, test = (DATA_SETS[name](tmp_path, part) for part in ("train", "val", "test"))
    assert files(train, tmp_path) == [
        ("images/train/0.png", "labels/train/0.png"),
        ("images/train/a.jpg", "labels/train/a.png"),
    ]
    assert train.labels == labels
    assert [ids_of(part) for part in (train, val, test)] == [[3, 0], [7], [255]]
    assert train[0][0][0, 0].tolist() == [200, 0, 0], "not RGB"
    assert files(test, tmp_path) == [("images/test/a.jpg", "labels/test/a.png")]


def test_camvid_as_segnet_has_it(tmp_path: Path) -> None:
    for name, number in (("a", 10), ("b", 11), ("c", 255)):
        write(tmp_path / "val" / f"{name}.png", 9)
        write(tmp_path / "valannot" / f"{name}.png", number)
    val = DATA_SETS["camvid"](tmp_path, "val")
    assert files(val, tmp_path)[0] == ("val/a.png", "valannot/a.png") and val.labels is CAMVID
    assert ids_of(val) == [10, 255, 255]


def test_original_camvid(tmp_path: Path) -> None:
    colors = {"a": (128, 0, 0), "b": (0, 128, 64), "c": (192, 0, 192), "d": (0, 0, 0)}
    for name, color in colors.items():
        write(tmp_path / "701_StillsRaw_full" / f"{name}.png", 9)
        write(tmp_path / "LabeledApproved_full" / f"{name}_L.png", color)
    (tmp_path / "train.txt").write_text("d\n\na\n")
    (tmp_path / "val.txt").write_text("/SegNet/CamVid/val/b.png /SegNet/CamVid/valannot/b.png\n")
    (tmp_path / "test.txt").write_text("c.png\n")
    train, val, test = (DATA_SETS["camvid_original"](tmp_path, part) for part in ("train", "val", "test"))
    assert train.labels is CAMVID
    assert files(train, tmp_path) == [
        ("701_StillsRaw_full/d.png", "LabeledApproved_full/d_L.png"),
        ("701_StillsRaw_full/a.png", "LabeledApproved_full/a_L.png"),
    ]
    assert ids_of(train) == [255, 1] and ids_of(val) == [1] and ids_of(test) == [10]
    (tmp_path / "val.txt").unlink()
    with pytest.raises(ImageFileError, match=r"no list .*val\.txt; CamVid comes without its split: put SegNet's lists"):
        DATA_SETS["camvid_original"](tmp_path, "val")
    (tmp_path / "val.txt").write_text("\n")
    with pytest.raises(ImageFileError, match=r"the list .*val\.txt is empty"):
        DATA_SETS["camvid_original"](tmp_path, "val")
    (tmp_path / "val.txt").write_text("e\n")
    with pytest.raises(ImageFileError, match=r"the image .*701_StillsRaw_full/e\.png is missing"):
        DATA_SETS["camvid_original"](tmp_path, "val")


def test_the_32_colours_of_camvid_are_in_11_classes() -> None:
    assert list(CAMVID_COLORS) == CAMVID.names
    assert len(CAMVID_IDS) == 32 and set(CAMVID_IDS.values()) == {*range(11), 255}
    for label, colors in zip(CAMVID.labels, CAMVID_COLORS.values(), strict=True):
        assert label.color in colors.values()


def write_cityscapes(root: Path, part: str, city: str, frame: str, label: int, kind: str = "labelIds") -> None:
    write(root / "leftImg8bit" / part / city / f"{frame}_leftImg8bit.png", 5)
    write(root / "gtFine" / part / city / f"{frame}_gtFine_{kind}.png", label)
    write(root / "gtFine" / part / city / f"{frame}_gtFine_color.png", (1, 2, 3))


def test_cityscapes(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, "train", "ulm", "ulm_000001_000019", 7)
    write_cityscapes(tmp_path, "train", "aachen", "aachen_000000_000019", 33)
    write_cityscapes(tmp_path, "train", "aachen", "aachen_000001_000019", 18, "labelTrainIds")
    write_cityscapes(tmp_path, "val", "munster", "munster_000000_000019", 29)
    write_cityscapes(tmp_path, "val", "munster", "munster_000000_000019", 3, "labelTrainIds")  # labelIds go first
    train, val = (DATA_SETS["cityscapes"](tmp_path, part) for part in ("train", "val"))
    assert train.labels is CITYSCAPES
    assert files(train, tmp_path) == [
        (f"leftImg8bit/train/{frame}_leftImg8bit.png", f"gtFine/train/{frame}_gtFine_{kind}.png")
        for frame, kind in (
            ("aachen/aachen_000000_000019", "labelIds"),
            ("aachen/aachen_000001_000019", "labelTrainIds"),
            ("ulm/ulm_000001_000019", "labelIds"),
        )
    ]
    assert ids_of(train) == [18, 18, 0] and ids_of(val) == [255]
    write(tmp_path / "gtFine/val/munster/munster_000000_000019_gtFine_labelIds.png", 34)
    with pytest.raises(ImageFileError, match=r"munster_000000_000019_gtFine_labelIds\.png has id 34.* are 0\.\.33$"):
        val[0]
    write(tmp_path / "gtFine/train/aachen/aachen_000001_000019_gtFine_labelTrainIds.png", 19)
    with pytest.raises(ImageFileError, match=r"labelTrainIds\.png has id 19, but the classes are 0\.\.18$"):
        train[1]


def test_all_label_ids_of_cityscapes(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, "val", "bonn", "bonn_000000_000019", 0)
    values = np.append(np.arange(34), 255)[None].astype(np.uint8)
    write(tmp_path / "leftImg8bit/val/bonn/bonn_000000_000019_leftImg8bit.png", 5, values.shape)
    write(tmp_path / "gtFine/val/bonn/bonn_000000_000019_gtFine_labelIds.png", values)
    ids = DATA_SETS["cityscapes"](tmp_path, "val")[0][1][0].tolist()
    # fmt: off
    assert ids == [
        255, 255, 255, 255, 255, 255, 255, 0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5,
        255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18, 255,
    ]
    # fmt: on


def test_kitti(tmp_path: Path) -> None:
    for number in range(18):
        write(tmp_path / f"training/image_2/{number:06}_10.png", 5)
        write(tmp_path / f"training/semantic/{number:06}_10.png", 26 if number % 8 else 21)
    train, val = (DATA_SETS["kitti"](tmp_path, part) for part in ("train", "val"))
    assert files(val, tmp_path) == [
        (f"training/image_2/{name}_10.png", f"training/semantic/{name}_10.png")
        for name in ("000000", "000008", "000016")
    ]
    assert ids_of(val) == [8] * 3 and ids_of(train) == [13] * 15 and train.labels is CITYSCAPES
    with pytest.raises(ImageFileError, match="KITTI has no part test with labels, only train and val"):
        DATA_SETS["kitti"](tmp_path, "test")


def write_virtual_kitti(root: Path, variant: str, color: tuple[int, int, int]) -> None:
    for camera in (0, 1):
        write(root / variant / f"frames/rgb/Camera_{camera}/rgb_00000.jpg", 5)
        write(root / variant / f"frames/classSegmentation/Camera_{camera}/classgt_00000.png", color)


def test_virtual_kitti(tmp_path: Path) -> None:
    write_virtual_kitti(tmp_path, "Scene01/clone", (210, 0, 200))
    write_virtual_kitti(tmp_path, "Scene01/15-deg-left", (0, 0, 0))
    with pytest.raises(ImageFileError, match=rf"no images of part val in {tmp_path} \(val is Scene20, train the other"):
        DATA_SETS["virtual_kitti"](tmp_path, "val")
    write_virtual_kitti(tmp_path, "Scene20/fog", (0, 139, 139))
    train, val = (DATA_SETS["virtual_kitti"](tmp_path, part) for part in ("train", "val"))
    assert files(train, tmp_path) == [
        (
            f"Scene01/{variant}/frames/rgb/Camera_0/rgb_00000.jpg",
            f"Scene01/{variant}/frames/classSegmentation/Camera_0/classgt_00000.png",
        )
        for variant in ("15-deg-left", "clone")
    ]
    assert ids_of(train) == [255, 0] and ids_of(val) == [13] and train.labels is VIRTUAL_KITTI
    with pytest.raises(ImageFileError, match="Virtual KITTI has no part test"):
        DATA_SETS["virtual_kitti"](tmp_path, "test")


def test_voc(tmp_path: Path) -> None:
    indices = np.tile([0, 1, 20, 255, 9], (8, 2)).astype(np.uint8)
    palette = [voc_color(number) for number in range(256)]
    for name in ("2007_000032", "2007_000033", "2007_000039"):
        write(tmp_path / "JPEGImages" / f"{name}.jpg", 5)
        write_palette(tmp_path / "SegmentationClass" / f"{name}.png", indices, palette)
    write(tmp_path / "JPEGImages/2007_000001.jpg", 5)  # without segmentation
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n2007_000039\n")
    (lists / "val.txt").write_text("2007_000033\n")
    train, val = (DATA_SETS["voc"](tmp_path, part) for part in ("train", "val"))
    assert files(val, tmp_path) == [("JPEGImages/2007_000033.jpg", "SegmentationClass/2007_000033.png")]
    assert len(train) == 2 and train.labels is VOC and len(VOC) == 21
    np.testing.assert_array_equal(train[1][1], indices)
    write_palette(tmp_path / "SegmentationClass/2007_000033.png", np.full(SHAPE, 21), palette)
    with pytest.raises(ImageFileError, match=r"2007_000033\.png has the colour \(128, 64, 128\), which is no class's"):
        val[0]
    with pytest.raises(ImageFileError, match=r"no list .*ImageSets/Segmentation/test\.txt; is this the folder VOC2012"):
        DATA_SETS["voc"](tmp_path, "test")


def test_palette_of_voc() -> None:
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 7: (128, 128, 128), 8: (64, 0, 0), 20: (0, 64, 128)}
    assert {number: voc_color(number) for number in known} == known
    assert voc_color(255) == (224, 224, 192)
    assert len({voc_color(number) for number in range(256)}) == 256


@pytest.mark.parametrize("folder", ["annotations", "stuffthingmaps"])
@pytest.mark.parametrize("palette", [False, True])
def test_coco_stuff(tmp_path: Path, folder: str, palette: bool) -> None:
    values = np.array([[0, 9, 12, 89, 91, 181, 255, 128, 80, 148]], np.uint8)
    label = tmp_path / folder / "train2017/000000000009.png"
    if palette:
        write_palette(label, values, [(value,) * 3 for value in range(256)])
    else:
        write(label, values)
    write(tmp_path / "images/train2017/000000000009.jpg", 5, values.shape)
    data = DATA_SETS["coco_stuff"](tmp_path, "train")
    assert files(data, tmp_path) == [("images/train2017/000000000009.jpg", f"{folder}/train2017/000000000009.png")]
    ids = data[0][1][0]
    names = ["unlabelled" if number == 255 else data.labels.names[number] for number in ids]
    # By the published list, whose numbers are larger by one.
    assert names == [
        *("person", "traffic light", "stop sign", "toothbrush", "banner", "wood"),
        *("unlabelled", "leaves", "sink", "road"),
    ]
    write(label, 11, values.shape)
    with pytest.raises(ImageFileError, match=r"0009\.png has id 11, but the classes are 0\.\.181 without 11, 25, 28"):
        data[0]
    write(label, (1, 2, 3), values.shape)
    with pytest.raises(ImageFileError, match=r"0009\.png has colours; it should be 8 bits of one channel"):
        data[0]


def test_classes_of_coco_stuff() -> None:
    assert len(COCO_STUFF) == 171 and len(set(COCO_STUFF.names)) == 171
    assert COCO_STUFF.names.index("banner") == 80 and COCO_STUFF.names.index("wood") == 170
    assert len({label.color for label in COCO_STUFF.labels} - {(0, 0, 0)}) == 171


LABELS_YAML = """
- {name: floor, color: [10, 20, 30]}
- name: step
  color: [255, 0, 0]
"""


def test_own_data(tmp_path: Path) -> None:
    root = write_parts(tmp_path / "stairs", 0, 1)
    (root / "labels.yaml").write_text(LABELS_YAML)
    train, val = DATA_SETS["folder"](root, "train"), DATA_SETS["folder"](root, "val")
    assert train.labels.name == "stairs" and train.labels.names == ["floor", "step"]
    assert train.labels.palette()[:2].tolist() == [[10, 20, 30], [255, 0, 0]]
    assert files(train, root) == [("images/train/a.jpg", "labels/train/a.png")]
    assert ids_of(train) == [0] and ids_of(val) == [1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, r"there is no file .*labels\.yaml; it is a list of classes, each with `name: road` and"),
        ("a: [", r"labels\.yaml is not YAML"),
        ("name: floor", r"labels\.yaml is not a list of classes"),
        ("[]", r"labels\.yaml is not a list of classes"),
        (LABELS_YAML * 128, r"labels\.yaml is not .*, 1 to 255 of them"),
        (LABELS_YAML * 2, r"labels\.yaml has 'floor' twice, as classes 0 and 2: each needs its own name"),
        ("- floor", r"labels\.yaml has the entry floor; it is a list of classes, each with"),
        ("- {name: 3, color: [1, 2, 3]}", r"labels\.yaml has the entry \{'name': 3"),
        ("- {name: floor}", r"labels\.yaml has the entry"),
        ("- {name: floor, color: [1, 2]}", r"labels\.yaml has the entry"),
        ("- {name: floor, color: [1, 2, 256]}", r"labels\.yaml has the entry"),
        ("- {name: floor, color: red}", r"labels\.yaml has the entry"),
    ],
)
def test_wrong_label_sets(tmp_path: Path, text: str | None, says: str) -> None:
    write_parts(tmp_path, 0, 1)
    if text is not None:
        (tmp_path / "labels.yaml").write_text(text)
    with pytest.raises(ImageFileError, match=says):
        DATA_SETS["folder"](tmp_path, "train")


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_missing_folder_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageFileError, match=f"there is no (folder|list|file) {tmp_path}/nowhere"):
        DATA_SETS[name](tmp_path / "nowhere", "train")


@pytest.mark.parametrize("name", ["cityscapes", "virtual_kitti", "camvid"])
def test_a_folder_without_images_is_named(tmp_path: Path, name: str) -> None:
    for folder in ("leftImg8bit/train", "images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(ImageFileError, match=f"there are no images .*{tmp_path}"):
        DATA_SETS[name](tmp_path, "train")


@pytest.mark.parametrize(
    ("name", "image", "label"),
    [
        ("camvid", "images/train/a.png", "labels/train/a.png"),
        ("camvid_original", "701_StillsRaw_full/a.png", "LabeledApproved_full/a_L.png"),
        ("cityscapes", "leftImg8bit/train/x/a_leftImg8bit.png", "gtFine/train/x/a_gtFine_labelIds.png"),
        ("kitti", "training/image_2/b.png", "training/semantic/b.png"),
        (
            "virtual_kitti",
            "Scene01/rain/frames/rgb/Camera_0/rgb_00001.jpg",
            "Scene01/rain/frames/classSegmentation/Camera_0/classgt_00001.png",
        ),
        ("voc", "JPEGImages/a.jpg", "SegmentationClass/a.png"),
        ("coco_stuff", "images/train2017/a.jpg", "annotations/train2017/a.png"),
        ("folder", "images/train/a.png", "labels/train/a.png"),
    ],
)
def test_a_missing_label_and_one_of_another_size_are_named(tmp_path: Path, name: str, image: str, label: str) -> None:
    write(tmp_path / image, 5)
    write(tmp_path / label, (0, 0, 0) if name in ("camvid_original", "virtual_kitti", "voc") else 0, (8, 9))
    for path, text in (("train.txt", "a"), ("ImageSets/Segmentation/train.txt", "a"), ("labels.yaml", LABELS_YAML)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    if name == "kitti":  # whose first frame is val
        write(tmp_path / "training/image_2/a.png", 5)
        write(tmp_path / "training/semantic/a.png", 0)
    data = DATA_SETS[name](tmp_path, "train")
    with pytest.raises(ImageFileError, match=rf"{image} is \(8, 10\) but its label .*{label} is \(8, 9\)"):
        data[0]
    (tmp_path / label).unlink()
    with pytest.raises(ImageFileError, match=f"the label {tmp_path / label} is missing"):
        DATA_SETS[name](tmp_path, "train")


def test_wrong_ids_and_unreadable_labels_are_named(tmp_path: Path) -> None:
    write_parts(tmp_path, 37)
    data = DATA_SETS["camvid"](tmp_path, "train")
    with pytest.raises(ImageFileError, match=r"labels/train/a\.png has id 37, but the classes are 0\.\.10$"):
        data[0]
    write(tmp_path / "labels/train/a.png", (1, 2, 3))
    with pytest.raises(ImageFileError, match=r"a\.png is uint8 of shape \(8, 10, 3\); a label is 8 bits of one"):
        data[0]
    # Of one bit a pixel, where OpenCV makes 255 of 1, and 255 is unlabelled.
    assert cv2.imwrite(
        str(tmp_path / "labels/train/a.png"), np.eye(8, 10, dtype=np.uint8), [cv2.IMWRITE_PNG_BILEVEL, 1]
    )
    with pytest.raises(ImageFileError, match=r"labels/train/a\.png has a bit depth of 1; a label is 8 bits of one"):
        data[0]
    (tmp_path / "labels/train/a.png").write_text("no image")
    with pytest.raises(ImageFileError, match=r"labels/train/a\.png is not an image that OpenCV can read"):
        data[0]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    names=st.sampled_from([NAMED, CAMVID_IDS, VOC_IDS]),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_colours_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, names: dict[tuple[int, int, int], int], height: int, width: int, seed: int
) -> None:
    colors = np.array(list(names), np.uint8)
    chosen = np.random.default_rng(seed).integers(0, len(names), (height, width))
    path = write(tmp_path_factory.getbasetemp() / "colours.png", colors[chosen])
    np.testing.assert_array_equal(ColorDecoder(names)(path), np.array(list(names.values()), np.uint8)[chosen])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(color=st.tuples(*[st.integers(0, 255)] * 3).filter(lambda color: color not in NAMED))
def test_a_colour_of_no_class_is_named(tmp_path_factory: pytest.TempPathFactory, color: tuple[int, int, int]) -> None:
    pixels = np.zeros((3, 4, 3), np.uint8)
    pixels[1, 2] = color
    path = write(tmp_path_factory.getbasetemp() / "unknown.png", pixels)
    with pytest.raises(ImageFileError) as error:
        ColorDecoder(NAMED)(path)
    assert str(error.value) == f"the label {path} has the colour {color}, which is no class's"


def test_samples_go_to_other_processes(tmp_path: Path) -> None:
    write_cityscapes(tmp_path, "train", "ulm", "ulm_000001_000019", 7)
    again = pickle.loads(pickle.dumps(DATA_SETS["cityscapes"](tmp_path, "train")))
    assert ids_of(again) == [0] and again.labels == CITYSCAPES


def test_a_config_names_the_data_set(tmp_path: Path) -> None:
    config = load_config(Config, ROOT / "training/configs/street_scenes.yaml")
    for part in (open_part(config.data_set, None, name, config.input_size) for name in ("train", "val")):
        assert part.labels is STREET_SCENES and part[0][0].shape == (*config.input_size, 3)
    write_parts(tmp_path, 0, 1)
    (tmp_path / "labels.yaml").write_text(LABELS_YAML)
    train, val = (open_part("folder", tmp_path, name, config.input_size) for name in ("train", "val"))
    assert train.labels.names == val.labels.names == ["floor", "step"]


def test_real_camvid() -> None:
    root = Path(os.environ.get("CAMVID", ROOT.parent / "shared" / "camvid"))
    if not root.is_dir():
        pytest.skip(f"CamVid is not at {root}; CAMVID=folder says where it is")
    train, val = (DATA_SETS["camvid"](root, part) for part in ("train", "val"))
    assert (len(train), len(val)) == (367, 101)
    for data, index in ((train, 0), (train, 200), (val, 100)):
        image, ids = data[index]
        assert image.shape == (360, 480, 3) and ids.shape == (360, 480)
        road = (ids == 3).mean(1)
        assert road[180:].mean() > road[:180].mean() and (ids == 255).mean() < 0.2
