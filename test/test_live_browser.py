"""The live page in a real browser, in front of the real node: what is drawn, what is read and what the switches do."""

from __future__ import annotations

import base64
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("aiohttp", reason="aiohttp is not installed")
pytest.importorskip("playwright", reason="playwright is not installed")

from brightness import blocks, save_brightness_weights
from live_harness import LiveProcess, steady_port
from playwright.sync_api import Browser, Page, TimeoutError, expect, sync_playwright
from ros_harness import NodeProcess, Peer, next_domain
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dfanet_ros.image_messages import message_from_pixels
from dfanet_ros.label_set import CAMVID

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.timeout(300),  # the first test starts node, viewer and browser
]
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]

SIZE = (96, 128)
CAMERAS = ("/front", "/rear")
RATE = 10.0
COUNT = 7  # different images
JPEG_ERROR = 12  # of a pixel within a block, at most

Pixels = NDArray[np.uint8]
PATIENCE = 60_000  # ms, on a machine that is busy
expect.set_options(timeout=PATIENCE)


def image_of(number: int) -> tuple[Pixels, Pixels, NDArray[np.bool_]]:
    """An image RGB (H, W, 3), its right ids (H, W), and where these are certain."""
    red, ids, certain = blocks(*SIZE, seed=number % COUNT)
    return np.dstack([red, red, red]), ids, certain


class Cameras(threading.Thread):
    """Publishes images of all cameras, and keeps what the node makes of them, by camera and stamp."""

    def __init__(self, domain: int) -> None:
        super().__init__()
        self.domain = domain
        self.images: dict[tuple[str, str], int] = {}
        self.results: dict[tuple[str, str, str], Pixels] = {}
        self.stop = threading.Event()

    def run(self) -> None:
        with Peer(self.domain) as peer:
            publishers = {camera: peer.publisher(f"{camera}/image_raw") for camera in CAMERAS}
            for camera in CAMERAS:
                for kind in ("mask", "confidence"):
                    self._keep(peer, camera, kind)
            number = 0
            while not self.stop.is_set():
                for shift, (camera, publisher) in enumerate(publishers.items()):
                    header = Header(stamp=peer.node.get_clock().now().to_msg())
                    self.images[camera, stamp_of(header)] = number + shift
                    publisher.publish(message_from_pixels(image_of(number + shift)[0], "rgb8", header))
                number += 1
                peer.spin_for(1 / RATE)

    def _keep(self, peer: Peer, camera: str, kind: str) -> None:
        def keep(message: Image) -> None:
            pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
            self.results[camera, kind, stamp_of(message.header)] = pixels

        peer.node.create_subscription(Image, f"{camera}/segmentation/{kind}", keep, 10)

    def wait_until_segmented(self) -> None:
        """Until masks and confidences of all cameras come, so that none is missed from here on."""
        wanted = {(camera, kind) for camera in CAMERAS for kind in ("mask", "confidence")}
        end = time.monotonic() + 60
        while not wanted <= {(camera, kind) for camera, kind, _ in [*self.results]}:
            assert time.monotonic() < end, "the node does not answer all cameras"
            time.sleep(0.05)

    def result(self, camera: str, kind: str, stamp: str) -> Pixels:
        """What the node published of a frame."""
        end = time.monotonic() + 10
        while (camera, kind, stamp) not in self.results:
            assert time.monotonic() < end
            time.sleep(0.02)
        return self.results[camera, kind, stamp]


def stamp_of(header: Header) -> str:
    return f"{header.stamp.sec}.{header.stamp.nanosec:09}"


@pytest.fixture(scope="module")
def domain() -> int:
    return next_domain()


@pytest.fixture(scope="module")
def cameras(domain: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cameras]:
    folder = tmp_path_factory.mktemp("node")
    save_brightness_weights(folder / "brightness.safetensors", SIZE)
    topics = "[" + ", ".join(f"{camera}/image_raw" for camera in CAMERAS) + "]"
    cameras = Cameras(domain)
    with NodeProcess(
        domain,
        folder / "log",
        weights=folder / "brightness.safetensors",
        backbone="xception_b",
        image_topics=topics,
    ) as node:
        node.wait_until_ready()
        cameras.start()
        try:
            cameras.wait_until_segmented()
            yield cameras
        finally:
            cameras.stop.set()
            cameras.join()


@pytest.fixture(scope="module")
def live(domain: int, cameras: Cameras, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveProcess]:
    with LiveProcess(domain, tmp_path_factory.mktemp("live") / "log") as process:
        yield process


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, live: LiveProcess) -> Iterator[Page]:
    with opened(browser, live.url) as page:
        yield page


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[Page]:
    """The page with its first frame; what it complains about fails the test at the end."""
    complaints: list[str] = []
    with new_page(browser) as page:
        # Not failed in there, which would break the connection to the browser.
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(url)
        wait_for_canvas(page, "[data-stamp]")
        expect(page.get_by_role("checkbox")).to_have_count(len(CAMVID))
        yield page
    # The browser itself complains when a connection is lost.
    assert not [complaint for complaint in complaints if not complaint.startswith("WebSocket connection to")]


@contextmanager
def new_page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    try:
        yield page
    finally:
        page.close()


def stamp(page: Page) -> str:
    return page.locator("#picture").get_attribute("data-stamp") or ""


def wait_past(page: Page, old: str) -> None:
    """Wait for another frame than that with this stamp."""
    wait_for_canvas(page, f":not([data-stamp='{old}'])")


def wait_for_canvas(page: Page, condition: str) -> None:
    """Wait for a frame of which this is true, in CSS."""
    try:
        page.wait_for_selector(f"canvas{condition}")
    except TimeoutError:
        pytest.fail(f"no frame came that is {condition}, and the page says: {page.locator('#notice').text_content()}")


def canvas(page: Page) -> Pixels:
    """What is drawn, RGB (H, W, 3)."""
    url = page.evaluate("document.getElementById('picture').toDataURL()")
    return decoded(base64.b64decode(url.partition(",")[2]))


def decoded(png: bytes) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (pixels[:, :, 3] == 255).all()
    return pixels[:, :, 2::-1]


def pause(page: Page) -> str:
    """Freeze the page; gives the stamp that it stays at."""
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(100)
    return stamp(page)


def set_opacity(page: Page, opacity: str) -> None:
    page.get_by_role("slider", name="Colours").fill(opacity)


# What is drawn


def test_the_picture_changes_and_is_that_of_its_stamp(page: Page, cameras: Cameras) -> None:
    set_opacity(page, "0")
    seen: dict[str, Pixels] = {}
    end = time.monotonic() + 20
    while len({cameras.images["/front", found] % COUNT for found in seen}) < 3:
        assert time.monotonic() < end, "the picture stays the same"
        # Both in one call, so that no frame comes between them.
        found, url = page.evaluate("[picture.dataset.stamp, picture.toDataURL()]")
        seen[found] = decoded(base64.b64decode(url.partition(",")[2]))
        page.wait_for_timeout(50)
    for found, pixels in seen.items():
        image, _, certain = image_of(cameras.images["/front", found])
        assert pixels.shape == image.shape
        assert np.abs(pixels.astype(int) - image)[certain].max() <= JPEG_ERROR
    assert len({pixels.tobytes() for pixels in seen.values()}) >= 3


def test_the_slider_goes_from_the_frame_to_the_colours(page: Page, cameras: Cameras) -> None:
    found = pause(page)
    image, ids, certain = image_of(cameras.images["/front", found])
    mask = cameras.result("/front", "mask", found)
    assert (mask == ids)[certain].all()
    set_opacity(page, "1")
    colours = canvas(page)
    assert (colours == CAMVID.palette()[mask]).all()
    set_opacity(page, "0")
    frame = canvas(page)
    assert np.abs(frame.astype(int) - image)[certain].max() <= JPEG_ERROR
    set_opacity(page, "0.3")
    assert np.abs(canvas(page) - (0.7 * frame + 0.3 * colours)).max() <= 2
    expect(page.locator("#percent")).to_have_text("30 %")


def test_a_switch_takes_away_the_colour_of_its_class_only(page: Page, cameras: Cameras) -> None:
    found = pause(page)
    mask = cameras.result("/front", "mask", found)
    set_opacity(page, "0")
    frame = canvas(page)
    set_opacity(page, "1")
    colours = canvas(page)
    off = int(np.bincount(mask.ravel()).argmax())
    switch = page.get_by_role("checkbox", name=CAMVID.names[off])
    switch.uncheck()
    assert (canvas(page) == np.where((mask == off)[:, :, None], frame, colours)).all()
    switch.check()
    assert (canvas(page) == colours).all()
    page.get_by_role("button", name="Show no class").click()
    assert (canvas(page) == frame).all()
    page.get_by_role("button", name="Show all classes").click()
    assert (canvas(page) == colours).all()


def test_the_legend_has_the_colours_and_the_shares(page: Page, cameras: Cameras) -> None:
    found = pause(page)
    mask = cameras.result("/front", "mask", found)
    for number, row in enumerate(page.locator("#legend li").all()):
        label = CAMVID.labels[number]
        assert row.locator(".name").text_content() == label.name
        color = row.locator(".swatch").evaluate("swatch => getComputedStyle(swatch).backgroundColor")
        assert color == f"rgb{label.color}"
        share = (mask == number).mean()
        text = row.locator(".share").text_content() or "0 %"
        assert abs(float(text.removesuffix(" %")) / 100 - share) < 0.006


# What is read


def test_a_click_reads_class_and_confidence(page: Page, cameras: Cameras) -> None:
    found = pause(page)
    mask = cameras.result("/front", "mask", found)
    confidence = cameras.result("/front", "confidence", found)
    for x, y in [(5, 5), (64, 48), (100, 20), (127, 95), (0, 95)]:
        click(page, x, y)
        expect(page.locator("#pixel-class")).to_have_text(CAMVID.names[mask[y, x]])
        expect(page.locator("#pixel-id")).to_have_text(str(mask[y, x]))
        expect(page.locator("#pixel-position")).to_have_text(f"{x}, {y}")
        expect(page.locator("#pixel-confidence")).to_have_text(re.compile(r"^\d+(\.\d)? %$"))
        text = page.locator("#pixel-confidence").text_content() or ""
        assert abs(float(text.removesuffix(" %")) - 100 * float(confidence[y, x]) / 255) <= 0.51
        expect(page.locator("#tip")).to_have_text(re.compile(f"^{CAMVID.names[mask[y, x]]} "))  # under the mouse


def test_a_pinned_pixel_is_read_in_every_frame(page: Page, cameras: Cameras) -> None:
    click(page, 16, 16)
    seen = set()
    end = time.monotonic() + 20
    while len(seen) < 2:
        assert time.monotonic() < end, "every frame has the same class there"
        found, text = page.evaluate("[picture.dataset.stamp, document.getElementById('pixel-id').textContent]")
        assert int(text) == cameras.result("/front", "mask", found)[16, 16]
        seen.add(text)
        page.wait_for_timeout(50)


def click(page: Page, x: int, y: int) -> None:
    """Click the middle of a pixel of the frame."""
    box = page.locator("#picture").bounding_box()
    assert box
    page.mouse.click(box["x"] + (x + 0.5) * box["width"] / SIZE[1], box["y"] + (y + 0.5) * box["height"] / SIZE[0])


def test_rates_and_latency_are_measured(page: Page) -> None:
    def plausible() -> bool:
        start, first = time.monotonic(), number()
        page.wait_for_timeout(3000)
        rate = (number() - first) / (time.monotonic() - start)
        shown, offered = page.evaluate(
            "['shown', 'offered'].map(id => parseFloat(document.getElementById(id).textContent))"
        )
        return 0 < rate < 1.5 * RATE and rate / 3 < offered < 3 * rate and 0 < shown <= offered

    def number() -> int:
        return int(page.locator("#picture").get_attribute("data-number") or "")

    expect(page.locator("#offered")).to_have_text(re.compile(r"\d"))
    end = time.monotonic() + 60
    while not plausible():  # as long as the machine does other things
        assert time.monotonic() < end, "the rates are not those of the frames"
    latency = page.locator("#latency").text_content() or ""
    assert 0 < int(latency.removesuffix(" ms")) < 5000
    expect(page.locator("#size")).to_have_text(re.compile("^128 . 96$"))


# What the buttons do


def test_pause_freezes_and_a_step_is_one_frame(page: Page, cameras: Cameras) -> None:
    found, frozen = pause(page), canvas(page)
    page.wait_for_timeout(600)
    assert stamp(page) == found
    assert (canvas(page) == frozen).all()
    stamps = [found]
    for _ in range(3):
        page.get_by_role("button", name="Step").click()
        wait_past(page, stamps[-1])
        stamps.append(stamp(page))
        page.wait_for_timeout(300)
        assert stamp(page) == stamps[-1], "a step went on by more than one frame"
    assert stamps == sorted(stamps)
    page.get_by_role("button", name="Continue").click()
    wait_past(page, stamps[-1])


def test_keys_pause_step_and_save(page: Page) -> None:
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Continue")).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(100)
    found = stamp(page)
    page.keyboard.press("ArrowRight")
    wait_past(page, found)
    with page.expect_download() as download:
        page.keyboard.press("s")
    assert download.value.suggested_filename.endswith(".png")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_a_key_that_is_held_pauses_and_saves_once(page: Page) -> None:
    page.evaluate("window.saved = 0; HTMLCanvasElement.prototype.toBlob = () => window.saved++; 0")
    for key in ("Space", "s"):
        page.keyboard.down(key)
        page.keyboard.down(key)  # again without `up`: as it repeats
        page.keyboard.up(key)
    expect(page.get_by_role("button", name="Continue")).to_be_visible()
    assert page.evaluate("window.saved") == 1


def test_a_snapshot_is_what_is_shown(page: Page, tmp_path: Path) -> None:
    found = pause(page)
    set_opacity(page, "0.5")
    with page.expect_download() as download:
        page.get_by_role("button", name="Snapshot").click()
    assert download.value.suggested_filename == f"front_{found}.png"
    download.value.save_as(tmp_path / "snapshot.png")
    assert (decoded((tmp_path / "snapshot.png").read_bytes()) == canvas(page)).all()


def test_another_camera_is_shown_when_it_is_chosen(page: Page, cameras: Cameras) -> None:
    page.get_by_role("combobox", name="Camera").select_option("/rear")
    wait_for_canvas(page, "[data-camera='/rear']")
    found = pause(page)
    set_opacity(page, "1")
    assert (canvas(page) == CAMVID.palette()[cameras.result("/rear", "mask", found)]).all()
    assert page.url.endswith("#camera=%2Frear")
    page.reload()
    wait_for_canvas(page, "[data-camera='/rear']")  # also after that


def test_another_camera_is_shown_though_the_picture_is_paused(page: Page, cameras: Cameras) -> None:
    pause(page)
    page.get_by_role("combobox", name="Camera").select_option("/rear")
    wait_for_canvas(page, "[data-camera='/rear']")
    found, frozen = stamp(page), canvas(page)
    page.wait_for_timeout(600)
    assert stamp(page) == found and (canvas(page) == frozen).all()
    expect(page.get_by_role("button", name="Continue")).to_be_visible()


def test_each_page_has_its_own_view(page: Page, browser: Browser, live: LiveProcess, cameras: Cameras) -> None:
    with opened(browser, live.url) as other:
        set_opacity(page, "1")
        set_opacity(other, "0")
        other.get_by_role("checkbox", name="sky").uncheck()
        found, its = pause(page), pause(other)
        assert (canvas(page) == CAMVID.palette()[cameras.result("/front", "mask", found)]).all()
        image, _, certain = image_of(cameras.images["/front", its])
        assert np.abs(canvas(other).astype(int) - image)[certain].max() <= JPEG_ERROR


# How it looks, and what it says


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_the_page_fits_its_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#picture").bounding_box()
    assert box and box["width"] > 0.5 * min(width, 900)
    assert abs(box["width"] / box["height"] - SIZE[1] / SIZE[0]) < 0.02


def test_a_lost_viewer_is_reported_and_found_again(
    browser: Browser, domain: int, cameras: Cameras, tmp_path: Path
) -> None:
    port = ("--port", str(steady_port()))
    with ExitStack() as stack:
        with LiveProcess(domain, tmp_path / "first", *port) as first:
            page = stack.enter_context(opened(browser, first.url))
            expect(page.locator("#connection")).to_have_text("live")
        expect(page.locator("#notice")).to_have_text(re.compile("The viewer does not answer"))
        expect(page.locator("#connection")).to_have_text("no connection")
        before = stamp(page)
        stack.enter_context(LiveProcess(domain, tmp_path / "second", *port))
        wait_past(page, before)
        expect(page.locator("#connection")).to_have_text("live")
        expect(page.locator("#notice")).to_be_hidden()


def test_a_viewer_without_cameras_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    with LiveProcess(next_domain(), tmp_path / "log") as live, new_page(browser) as page:
        page.goto(live.url)
        expect(page.locator("#notice")).to_have_text(re.compile("No camera is segmented.*Start the segmentation node"))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("delete window.DecompressionStream", "This browser is too old for this page"),
        (
            "createImageBitmap = () => Promise.reject(Error('a riddle'))",
            "This browser cannot read the frames: a riddle",
        ),
    ],
)
def test_a_browser_that_cannot_show_frames_says_so(browser: Browser, live: LiveProcess, script: str, says: str) -> None:
    with new_page(browser) as page:
        page.add_init_script(script)
        page.goto(live.url)
        expect(page.locator("#notice")).to_contain_text(says)
        expect(page.locator("#notice")).to_be_visible()
