"""Reports: the page holds all that it shows and nothing that it should not, plots and numbers are those of the data."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from matplotlib.figure import Figure

from dfanet_ros.label_set import CAMVID, Label, LabelSet
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.report.measures import measures, write_json
from dfanet_ros.report.page import Image, Page, Section, Table, render
from dfanet_ros.report.pictures import MOST_WIDTH, NOT_LABELLED, WRONG, compare, encode_png, mark_wrong
from dfanet_ros.report.plots import confusion_map, iou_bars, png
from dfanet_ros.report.sections import ComparedFrame, frames_section, scores
from training.curve_plots import training_curves
from training.curves import Curve, LogError, read_curves
from training.report import Findings, write_report

ROOT = Path(__file__).parents[1]
# Names that would be markup in HTML or a formula in matplotlib.
ODD = LabelSet("odd", (Label("<b>", (200, 0, 0)), Label("$\\frac$ & co", (255, 255, 255)), Label("road", (0, 0, 0))))
COUNTS = np.array([[6, 2, 0], [1, 1, 0], [0, 0, 0]])


class Parsed(HTMLParser):
    """What a browser would see: its tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    def pictures(self) -> list[NDArray[np.uint8]]:
        """The pictures, RGB, which have to be inside of the page."""
        decoded = []
        for tag, attributes in self.tags:
            if tag == "img":
                kind, _, data = (attributes["src"] or "").partition(",")
                assert kind == "data:image/png;base64"
                file = np.frombuffer(base64.b64decode(data, validate=True), np.uint8)
                picture = cv2.imdecode(file, cv2.IMREAD_COLOR)
                assert picture is not None
                decoded.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8))
        return decoded


def words(figure: Figure) -> list[str]:
    """The texts in the figure's (only) axes."""
    return [text.get_text() for text in figure.axes[0].texts]


def compared(name: str = "a.png") -> ComparedFrame:
    truth = np.array([[0, 1, 255, 2]], np.uint8).repeat(3, 0)
    predicted = np.array([[0, 0, 1, 2]], np.uint8).repeat(3, 0)
    return ComparedFrame(name, np.full((3, 4, 3), 100, np.uint8), truth, predicted)


def write_log(run: Path, version: int, text: str) -> Path:
    path = run / f"logs/version_{version}/metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


# The page


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "new"
    curves = {"val/mIoU": Curve(np.array([1, 2]), np.array([10.0, 20.0]))}
    confusion = ConfusionMatrix.from_counts(COUNTS)
    facts = {"weights": "<i>w</i>", "frames": 3}
    write_report(folder, Findings("Of <u>it", "Text", facts, ODD, confusion, [compared("<s>")], [compared()], curves))
    return folder


def test_page_needs_nothing_else(report: Path) -> None:
    text = (report / "report.html").read_text(encoding="utf-8")
    page = Parsed(text)
    tags = {tag for tag, _ in page.tags}
    assert "img" in tags and not tags & {"script", "link", "iframe", "object", "base"}
    addresses = [a[name] or "" for _, a in page.tags for name in ("src", "href", "srcset", "data") if name in a]
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not re.search(r"https?://|//\w|url\(|@import", re.sub(r"data:image/png;base64,[\w+/=]+", "", text))
    (policy,) = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "width=device-width" in text


def test_page_has_all_pictures(report: Path) -> None:
    page = Parsed((report / "report.html").read_text(encoding="utf-8"))
    pictures = page.pictures()
    assert len(pictures) == 3 + 4 + 4  # plots; frame, truth, prediction and wrong pixels of the two frames
    assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")
    for number, name in enumerate(("iou", "confusion", "training")):
        file = cv2.cvtColor(cv2.imread(str(report / f"{name}.png")), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(pictures[number], file)
        assert file.std() > 10, "the plot is blank"
    frame = compared()
    expected = compare(frame.image, frame.truth, frame.predicted, ODD).values()
    for got, wanted in zip(pictures[3:7], expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_names_are_text_not_markup(report: Path) -> None:
    page = Parsed((report / "report.html").read_text(encoding="utf-8"))
    assert not {"b", "u", "s", "i"} & {tag for tag, _ in page.tags}
    for name in ("<b>", "Of <u>it", "<s>", "<i>w</i>", "$\\frac$ & co"):
        assert name in page.text
    assert any(attributes.get("alt") == "<s>: truth" for _, attributes in page.tags)


def test_page_tells_the_numbers(report: Path) -> None:
    text = " ".join(Parsed((report / "report.html").read_text(encoding="utf-8")).text.split())
    # Of COUNTS, by hand: IoU 6/9 and 1/4, recall 6/8 and 1/2, 7 of 10 pixels right.
    for row in ("mIoU 45.83 %", "fIoU 58.33 %", "mean accuracy 62.50 %", "pixel accuracy 70.00 %"):
        assert row in text
    assert "<b> 66.67 % 75.00 % 80.00 %" in text
    assert "road – – 0.00 %" in text  # noqa: RUF001 (a dash is meant)


def test_sections_may_be_empty_and_numbers_stand_to_the_right() -> None:
    table = Table(("name", "value", "meaning"), [("a", "1", "one")], words=(2,))
    page = render(Page("Title", "Text", table, [Section("Only a heading")]))
    assert '<td class="number">1</td><td>one</td>' in page and '<th scope="col" class="number">value</th>' in page
    assert "Only a heading" in page and "<img" not in page and "<ul" not in page


def test_legend_has_the_colours_that_occur() -> None:
    section = frames_section("Frames", "", [compared()], ODD)
    assert list(section.legend) == [*ODD.labels, WRONG, NOT_LABELLED]
    all_right = ComparedFrame("b", compared().image, *[np.zeros((3, 4), np.uint8)] * 2)
    section = frames_section("Frames", "", [all_right], ODD)
    assert list(section.legend) == [ODD.labels[0], WRONG]
    chip = Parsed(render(Page("", "", Table((), []), [section]))).tags
    assert ("span", {"style": "background: rgb(200, 0, 0)"}) in chip


def test_scores_without_labels_are_dashes() -> None:
    assert {row[1] for row in scores(ConfusionMatrix(2)).rows} == {"–"}  # noqa: RUF001 (a dash is meant)


def test_image_is_its_file() -> None:
    assert base64.b64decode(Image(b"abc", "").source.removeprefix("data:image/png;base64,")) == b"abc"


# Pictures


def test_wrong_pixels_are_marked() -> None:
    frame = compared()
    right, wrong, unlabelled, also_right = mark_wrong(frame.image, frame.truth, frame.predicted)[1].tolist()
    assert tuple(wrong) == WRONG.color and tuple(unlabelled) == NOT_LABELLED.color
    assert right == also_right and len({*right}) == 1 and 100 < right[0] < 255  # paler grey than the frame


def test_pictures_are_in_the_colours_of_the_classes() -> None:
    frame = compared()
    pictures = compare(frame.image, frame.truth, frame.predicted, CAMVID)
    assert list(pictures) == ["frame", "truth", "prediction", "wrong pixels"]
    expected = [CAMVID.labels[0].color, CAMVID.labels[1].color, (0, 0, 0), CAMVID.labels[2].color]
    assert [tuple(color) for color in pictures["truth"][0].tolist()] == expected
    assert tuple(pictures["prediction"][0, 2].tolist()) == CAMVID.labels[1].color
    decoded = cv2.imdecode(np.frombuffer(encode_png(pictures["truth"]), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[:, :, ::-1], pictures["truth"])


def test_large_frames_are_shrunk_alike() -> None:
    truth = np.zeros((500, 2 * MOST_WIDTH), np.uint8)
    truth[:, MOST_WIDTH:] = 3
    pictures = compare(np.zeros((*truth.shape, 3), np.uint8), truth, truth, CAMVID)
    assert {picture.shape for picture in pictures.values()} == {(250, MOST_WIDTH, 3)}
    colors = np.unique(pictures["truth"].reshape(-1, 3), axis=0)
    assert {tuple(color) for color in colors.tolist()} == {CAMVID.labels[0].color, CAMVID.labels[3].color}


def test_sizes_that_differ_are_refused() -> None:
    frame = compared()
    with pytest.raises(ValueError, match=r"frame, label and prediction are \(3, 4\), \(3, 4\), \(3, 3\)"):
        compare(frame.image, frame.truth, frame.predicted[:, :3], ODD)


# Plots


def test_bars_have_values_and_colours() -> None:
    iou = np.array([25.04, 80.0, np.nan])
    figure = iou_bars(ODD, iou)
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == [80, 25.04], "not from the best to the worst"
    assert bars[1].get_facecolor() == pytest.approx((200 / 255, 0, 0, 1))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [ODD.names[i] for i in (1, 0, 2)]
    assert words(figure) == ["80.0", "25.0", "not in these frames"]
    in_order = iou_bars(ODD, iou, order="class")
    assert words(in_order) == ["25.0", "80.0", "not in these frames"]


def test_confusions_are_percent_of_the_row() -> None:
    figure = confusion_map(ODD, COUNTS * 1000 + np.array([[0, 0, 1], [0, 0, 0], [0, 0, 0]]))
    shares = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(np.ma.filled(shares, np.nan)[:2], [[75, 25, 0], [50, 50, 0]], atol=0.02)
    assert np.isnan(np.ma.filled(shares, np.nan)[2]).all(), "a class that does not occur has no shares"
    assert words(figure) == ["75", "25", "<1", "50", "50", "·"]
    many = LabelSet("many", tuple(Label(str(number), (0, 0, 0)) for number in range(26)))
    assert not words(confusion_map(many, np.eye(26, dtype=np.int64)))


def test_plots_can_be_drawn_with_any_names_and_no_data() -> None:
    for counts in (COUNTS, np.zeros((3, 3), np.int64)):
        confusion = ConfusionMatrix.from_counts(counts)
        for figure in (iou_bars(ODD, confusion.iou()), confusion_map(ODD, confusion.counts)):
            assert cv2.imdecode(np.frombuffer(png(figure), np.uint8), cv2.IMREAD_COLOR) is not None


def test_curves_are_drawn_one_above_the_other() -> None:
    loss = Curve(np.array([1, 2, 3]), np.array([3.0, 2.0, np.nan]))
    miou = Curve(np.array([2, 4, 6]), np.array([10.0, 30.0, 20.0]))
    figure = training_curves({"train/loss": loss, "val/mIoU": miou, "lr": loss})
    assert figure is not None
    upper, lower = figure.axes
    np.testing.assert_array_equal(upper.lines[0].get_xydata(), np.stack([loss.epochs, loss.values], 1))
    np.testing.assert_array_equal(lower.lines[0].get_xydata(), np.stack([miou.epochs, miou.values], 1))
    assert [text.get_text() for text in lower.texts] == ["best: 30.00 in epoch 4"]
    one = training_curves({"train/loss_epoch": loss})
    assert one is not None and len(one.axes) == 1
    assert training_curves({"lr": loss}) is None


# Curves


def test_a_resumed_run_is_joined(tmp_path: Path) -> None:
    # 10 after 2, though "10" < "2"; the second start repeats step 5 and has other columns.
    write_log(
        tmp_path,
        2,
        "epoch,step,train/loss,val/mIoU\n0,1,4.0,\n0,3,2.0,\n0,3,,11.5\n1,5,9.0,\n1,7,1.0,\n",
    )
    write_log(tmp_path, 10, "lr,epoch,step,train/loss,val/mIoU\n,1,5,3.0,\n,1,7,,20\n0.1,,7,,\n,2,9,0.5,\n")
    curves = read_curves(tmp_path)
    assert {*curves} == {"train/loss", "val/mIoU", "lr"}
    np.testing.assert_array_equal(curves["train/loss"].epochs, [1, 2, 3])
    np.testing.assert_array_equal(curves["train/loss"].values, [3.0, 2.0, 0.5])  # means of 4 and 2, of 3 and 1
    np.testing.assert_array_equal(curves["val/mIoU"].epochs, [1, 2])
    np.testing.assert_array_equal(curves["val/mIoU"].values, [11.5, 20])
    np.testing.assert_array_equal(curves["lr"].epochs, [2])  # of the same step


def test_a_row_without_epoch_is_in_that_of_the_step_before(tmp_path: Path) -> None:
    write_log(tmp_path, 0, "epoch,step,x\n0,0,\n,1,1\n,4,3\n1,5,\n,6,7\n,,8\n")
    curve = read_curves(tmp_path)["x"]
    np.testing.assert_array_equal(curve.epochs, [1, 2])
    np.testing.assert_array_equal(curve.values, [2, 7])


def test_lightning_logs_can_be_read(tmp_path: Path) -> None:
    loggers = pytest.importorskip("lightning.pytorch.loggers")
    for version in range(2):
        logger = loggers.CSVLogger(tmp_path, name="logs")
        for epoch in (version, version + 1):
            logger.log_metrics({"train/loss": 3.0 - epoch - 0.5 * version, "epoch": epoch}, step=10 * epoch)
            logger.log_metrics({"val/mIoU": 10.0 * epoch + version, "epoch": epoch}, step=10 * epoch + 9)
        logger.save()
    curves = read_curves(tmp_path)
    np.testing.assert_array_equal(curves["train/loss"].epochs, [1, 2, 3])
    np.testing.assert_array_equal(curves["train/loss"].values, [3.0, 1.5, 0.5])
    np.testing.assert_array_equal(curves["val/mIoU"].values, [0, 11, 21])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no column epoch and no column step"),
        ("epoch,loss\n1,2\n", "has no column step"),
        ("epoch,step,loss\n0,0,1\n0,1,hello\n", r"line 3 of the training log .*metrics\.csv is damaged"),
        ("epoch,step\n0,0,1,2\n", "line 2 of the training log"),
        ("epoch,step,loss\n0,nan,1\n", "line 2 of the training log"),
    ],
)
def test_damaged_logs_are_named(tmp_path: Path, text: str, says: str) -> None:
    path = write_log(tmp_path, 0, text)
    with pytest.raises(LogError, match=says) as raised:
        read_curves(tmp_path)
    assert str(path) in str(raised.value)


def test_missing_logs_are_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=rf"there are no training logs {tmp_path}/logs/version_\*/metrics\.csv"):
        read_curves(tmp_path)


# Numbers


def test_json_has_all_measures_and_no_nan(tmp_path: Path, report: Path) -> None:
    values = measures(ConfusionMatrix.from_counts(COUNTS), ODD)
    write_json(tmp_path / "new/metrics.json", values)
    text = (tmp_path / "new/metrics.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    read = json.loads(text)
    assert read["miou"] == pytest.approx(100 * (6 / 9 + 1 / 4) / 2)
    assert read["fwiou"] == pytest.approx(0.8 * 100 * 6 / 9 + 0.2 * 25)
    assert read["mean_accuracy"] == 62.5 and read["pixel_accuracy"] == 70
    assert read["confusion"] == COUNTS.tolist()
    assert read["classes"][0] == {"name": "<b>", "iou": pytest.approx(100 * 6 / 9), "accuracy": 75, "pixels": 8}
    assert read["classes"][2] == {"name": "road", "iou": None, "accuracy": None, "pixels": 0}
    assert json.loads((report / "metrics.json").read_text()) == {"weights": "<i>w</i>", "frames": 3, **read}


# What is imported


def test_plots_leave_pyplot_alone_and_the_rest_needs_no_plots() -> None:
    block = "import sys; sys.modules['matplotlib'] = sys.modules['jinja2'] = None"
    modules = "dfanet_ros.segmenter, dfanet_ros.metrics, training.curves, training.evaluate"
    without = f"{block}; import {modules}"
    alone = "import sys, training.report; assert 'matplotlib.pyplot' not in sys.modules"
    for code in (without, alone):
        imported = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert imported.returncode == 0, imported.stderr
