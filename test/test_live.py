"""The live viewer's server: real DDS on one side, real HTTP and WebSockets on the other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("aiohttp", reason="aiohttp is not installed")

import aiohttp
import cv2
import numpy as np
from brightness import blocks, save_brightness_weights
from live_harness import Browser, LiveProcess, Stage, eventually, jpeg_of
from rclpy.qos import ReliabilityPolicy
from ros_harness import Peer, next_domain
from sensor_msgs.msg import Image

from dfanet_ros.label_set import CAMVID
from dfanet_ros.live.matching import Matcher
from dfanet_ros.live.viewers import LINGER

LEFT, RIGHT = "/left", "/right"
ALL = {"image", "mask", "confidence", "labels"}


@pytest.fixture(scope="module")
def domain() -> int:
    return next_domain()


@pytest.fixture(scope="module")
def stage(domain: int) -> Iterator[Stage]:
    with Peer(domain) as peer:
        yield Stage(peer, LEFT, RIGHT)


@pytest.fixture(scope="module")
def live(domain: int, stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveProcess]:
    with LiveProcess(domain, tmp_path_factory.mktemp("live") / "log") as process:
        yield process


def run(test: Coroutine[Any, Any, None], playing: Coroutine[Any, Any, None] | None = None) -> None:
    """Run a test, and a stage beside it."""

    async def both() -> None:
        task = asyncio.create_task(playing) if playing else None
        try:
            await test
        finally:
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    asyncio.run(both())


# Frames


def test_a_frame_comes_with_its_own_mask_and_confidence(live: LiveProcess, stage: Stage) -> None:
    async def test() -> None:
        async with Browser(live.url) as browser:
            packets = [await browser.frame() for _ in range(5)]
            for packet in packets:
                packet.check()
                assert packet.header["camera"] == LEFT
                assert packet.header["planes"] == ["ids", "confidence"]
            numbers = [packet.number for packet in packets]
            assert numbers == sorted(set(numbers))  # each is newer than the one before
            state = await browser.until(lambda state: state["labels"])
            assert state == {
                "cameras": [LEFT, RIGHT],
                "camera": LEFT,
                "labels": json.loads(CAMVID.to_json()),
                "problem": "",
            }

    run(test(), stage.play(LEFT))


def test_what_has_another_stamp_is_never_shown(live: LiveProcess, stage: Stage) -> None:
    async def test() -> None:
        async with Browser(live.url) as browser:
            await browser.ask()
            await eventually(lambda: stage.watched(LEFT) == ALL)
            await asyncio.sleep(0.5)  # until both sides know of each other
            for kind, number in [("image", 3), ("mask", 4), ("confidence", 5), ("image", 6), ("confidence", 4)]:
                stage.publish(LEFT, number, kind)
            with pytest.raises(asyncio.TimeoutError):
                await browser.packet(1.0)
            # The mask of an earlier image, after a later image: stamps count, not the order.
            for kind in ("confidence", "mask"):
                stage.publish(LEFT, 6, kind)
                await asyncio.sleep(0.05)
            packet = await browser.packet()
            assert packet.number == 6
            packet.check()

    run(test())


def test_two_viewers_get_the_same_bytes(live: LiveProcess, stage: Stage) -> None:
    async def test() -> None:
        async with Browser(live.url) as one, Browser(live.url) as two:
            first, second = await asyncio.gather(frames(one, 20), frames(two, 20))
            same = first.keys() & second.keys()
            assert len(same) >= 10
            assert all(first[number] == second[number] for number in same)

    async def frames(browser: Browser, count: int) -> dict[int, bytes]:
        packets = [await browser.frame() for _ in range(count)]
        return {packet.number: packet.data for packet in packets}

    run(test(), stage.play(LEFT))


def test_a_slow_viewer_skips_frames(live: LiveProcess, stage: Stage) -> None:
    async def test() -> None:
        async with Browser(live.url) as fast, Browser(live.url) as slow:
            await fast.frame()
            slow_numbers, fast_numbers = [], []
            for count in range(50):
                if count % 10 == 0:
                    slow_numbers.append((await slow.frame()).number)
                fast_numbers.append((await fast.frame()).number)
            # Each time it gets what is new for the fast one, too: nothing has queued.
            for number, before, after in zip(slow_numbers[1:], fast_numbers[9::10], fast_numbers[10::10], strict=False):
                assert before <= number <= after
            assert all(later - earlier >= 9 for earlier, later in pairwise(slow_numbers))

    run(test(), stage.play(LEFT))


def test_a_viewer_that_takes_nothing_delays_nobody(tmp_path: Path) -> None:
    async def test(url: str) -> None:
        async with Browser(url) as fast, Browser(url) as stuck:
            await fast.frame()
            for _ in range(60):
                await stuck.ask()  # and does not read; whoever waited for it would wait for ever
                newest = (await fast.frame()).number
            took = [(await stuck.packet()).number]
            while took[-1] < newest:
                took.append((await stuck.packet()).number)
            assert len(took) < 50, "all 60 were on their way to it, so it was not stuck"

    domain = next_domain()
    with Peer(domain) as peer, LiveProcess(domain, tmp_path / "log") as live:
        run(test(live.url), Stage(peer, LEFT, size=(480, 640)).play(LEFT, rate=20))


def test_a_viewer_chooses_its_camera(live: LiveProcess, stage: Stage) -> None:
    async def test() -> None:
        async with Browser(live.url) as left, Browser(live.url) as right:
            await right.choose(RIGHT)
            assert (await right.frame()).header["camera"] == RIGHT
            assert (await left.frame()).header["camera"] == LEFT
            assert (await right.until(lambda state: state["labels"]))["camera"] == RIGHT
            await right.choose(LEFT)
            for _ in range(3):
                packet = await right.frame()
            assert packet.header["camera"] == LEFT
            packet.check()

    run(test(), stage.play(LEFT, RIGHT))


def test_a_jpeg_of_the_camera_is_passed_on_as_it_is(tmp_path: Path) -> None:
    domain = next_domain()
    with Peer(domain) as peer, LiveProcess(domain, tmp_path / "log", "--cameras", "front") as live:
        stage = Stage(peer, "/front", "/other", compressed=True)

        async def test() -> None:
            async with Browser(live.url) as browser:
                packet = await browser.frame()
                packet.check()
                assert packet.jpeg == jpeg_of(packet.number)
                assert browser.state["cameras"] == ["/front"]  # for only that was named

        run(test(), stage.play("/front"))


# What it costs


def test_only_what_is_looked_at_is_received(live: LiveProcess, stage: Stage) -> None:
    async def test() -> None:
        await eventually(lambda: not stage.watched(LEFT) and not stage.watched(RIGHT))
        async with Browser(live.url) as one:
            async with Browser(live.url) as two:
                await one.ask()
                await two.ask()
                await eventually(lambda: stage.watched(LEFT) == ALL)
                mask = f"{LEFT}/segmentation/mask"
                assert stage.peer.node.count_subscribers(mask) == 1  # for both
                assert not stage.watched(RIGHT)
                await two.choose(RIGHT)
                await eventually(lambda: stage.watched(RIGHT) == ALL)
            await eventually(lambda: not stage.watched(RIGHT))
            assert stage.watched(LEFT) == ALL
        await eventually(lambda: not stage.watched(LEFT))

    run(test())


def test_a_paused_viewer_costs_nothing_and_goes_on(live: LiveProcess, stage: Stage) -> None:
    async def test() -> None:
        async with Browser(live.url) as browser:
            old = (await browser.frame()).number
            assert stage.watched(LEFT) == ALL
            start = time.monotonic()
            await eventually(lambda: not stage.watched(LEFT))
            assert time.monotonic() - start > LINGER / 2
            packet = await browser.frame()
            packet.check()
            assert packet.number - old > 25 * LINGER / 2, "it got a frame from before the pause"

    run(test(), stage.play(LEFT))


# What goes wrong


def test_it_says_why_there_are_no_frames(tmp_path: Path) -> None:
    domain = next_domain()
    with Peer(domain) as peer, LiveProcess(domain, tmp_path / "log") as live:

        async def test() -> None:
            async with Browser(live.url) as browser:
                await browser.ask()
                await problem(browser, "No camera is segmented: nobody publishes")
                mask = peer.publisher("/camera/segmentation/mask")
                await problem(browser, "The node that publishes /camera/segmentation/mask receives no images")
                peer.node.create_subscription(Image, "/camera/image_raw", lambda _: None, 1)
                await problem(browser, "No camera publishes on /camera/image_raw")
                camera = peer.publisher("/camera/image_raw")
                await problem(browser, "No image arrives on /camera/image_raw, though somebody publishes there")
                stage = Stage(peer)
                stage.publishers["/camera"] = {"image": camera, "mask": mask}
                await problem(browser, "Images arrive on /camera/image_raw, but no masks", stage, "image")
                await problem(browser, "never has the same stamp", stage, "image", "mask")
                peer.node.destroy_publisher(mask)
                await problem(browser, "No camera is segmented: nobody publishes")

        async def problem(browser: Browser, text: str, stage: Stage | None = None, *kinds: str) -> None:
            async def publish() -> None:
                for number in range(1, 10**6):
                    for offset, kind in enumerate(kinds):
                        stage.publish("/camera", 2 * number + offset, kind)
                    await asyncio.sleep(0.1)

            task = asyncio.create_task(publish()) if stage else None
            await browser.until(lambda state: text in state["problem"])
            if task:
                task.cancel()

        run(test())


def test_a_frame_that_cannot_be_read_is_reported_and_the_next_is_shown(live: LiveProcess, stage: Stage) -> None:
    async def test() -> None:
        async with Browser(live.url) as browser:
            await browser.choose(RIGHT)
            await browser.ask()
            publisher = stage.publishers[RIGHT]["image"]
            good = publisher.publish
            stage.publishers[RIGHT]["image"] = Spoiler(good)
            await eventually(lambda: "a frame of /right cannot be shown: encoding 'nonsense' is not one" in live.text)
            stage.publishers[RIGHT]["image"] = publisher
            (await browser.packet()).check()

    class Spoiler:
        def __init__(self, publish: Any) -> None:
            self._publish = publish

        def publish(self, message: Any) -> None:
            message.encoding = "nonsense"
            self._publish(message)

    run(test(), stage.play(RIGHT))


def test_a_camera_that_comes_back_with_another_reliability_is_received(live: LiveProcess, stage: Stage) -> None:
    def replace(reliability: ReliabilityPolicy) -> None:
        stage.peer.node.destroy_publisher(stage.publishers[RIGHT]["image"])
        stage.publishers[RIGHT]["image"] = stage.peer.publisher(f"{RIGHT}/image_raw", reliability)

    async def test() -> None:
        async with Browser(live.url) as browser:
            await browser.choose(RIGHT)
            for reliability in (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE):
                await browser.frame()
                replace(reliability)
                for _ in range(5):  # the first ones may be of the time before
                    packet = await browser.frame()
                packet.check()

    run(test(), stage.play(RIGHT))


def test_a_message_that_is_too_short_for_a_stamp_is_reported_and_survived(live: LiveProcess, stage: Stage) -> None:
    async def test() -> None:
        async with Browser(live.url) as browser:
            await browser.choose(RIGHT)
            await browser.frame()
            stage.publishers[RIGHT]["image"].publish(b"\0\1\0\0\1\0\0\0")
            await eventually(lambda: "a message was dropped" in live.text)
            (await browser.frame()).check()

    run(test(), stage.play(RIGHT))


@pytest.mark.parametrize("command", ["", "next", "[]", '{"next": false}', '{"camera": 1}', '{"camera": "/a", "b": 1}'])
def test_a_browser_that_talks_nonsense_is_sent_away(live: LiveProcess, command: str) -> None:
    async def test() -> None:
        async with Browser(live.url) as browser:
            await browser.socket.send_str(command)
            while (await browser.socket.receive(10)).type == aiohttp.WSMsgType.TEXT:
                pass
            assert browser.socket.close_code == 1008

    run(test())


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"port {port} of 127.0.0.1 is taken" in refusal("dfanet_ros.live.view", "--port", str(port))


def test_a_port_or_host_that_cannot_be_is_refused() -> None:
    assert "has to be from 0 to 65535" in refusal("dfanet_ros.live.view", "--port", "65536")
    said = refusal("dfanet_ros.live.view", "--host", "192.0.2.1", "--port", "0")
    assert "cannot listen on port 0 of 192.0.2.1" in said
    assert "--host has to be an address of this machine" in said


def test_aiohttp_that_is_missing_is_named() -> None:
    code = "import sys; sys.modules['aiohttp'] = None; from dfanet_ros.live.view import main; main()"
    assert "pip install aiohttp" in refusal("-c", code)


def test_it_ends_when_nothing_is_received_any_more() -> None:
    code = """
import sys, rclpy
from dfanet_ros.live import receiver, view
receiver.find_cameras = lambda *_: rclpy.shutdown() or []
sys.argv[1:] = ["--port", "0"]
view.main()
"""
    assert "live_view: no camera is received any more, for ROS has ended" in refusal("-c", code)


def refusal(*arguments: str) -> str:
    """What a viewer says that cannot begin."""
    command = arguments if arguments[0] == "-c" else ("-m", *arguments)
    ended = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "ROS_DOMAIN_ID": str(next_domain())},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_a_viewer_that_listens_to_all_says_so(tmp_path: Path) -> None:
    with LiveProcess(next_domain(), tmp_path / "log", "--host", "0.0.0.0") as live:
        assert "there is no password" in live.text
        assert live.url.startswith(f"http://{socket.gethostname()}:")


def test_an_interrupt_ends_it_in_order_though_browsers_look_on(tmp_path: Path) -> None:
    async def test() -> None:
        with LiveProcess(next_domain(), tmp_path / "log") as live:
            async with Browser(live.url) as browser:
                await browser.ask()
                start = time.monotonic()
                live.process.terminate()
                while (await browser.socket.receive(10)).type == aiohttp.WSMsgType.TEXT:
                    pass
                assert browser.socket.close_code == 1001
            assert live.process.wait(10) == 0
            assert time.monotonic() - start < 5
            assert "Traceback" not in live.text

    run(test())


def test_browsers_that_take_nothing_do_not_keep_it_from_ending(tmp_path: Path) -> None:
    async def test() -> None:
        async with Browser(live.url) as stuck:
            await clog(stuck, live.url)
            start = time.monotonic()
            live.process.terminate()
            await eventually(lambda: live.process.poll() is not None, 20)
            assert time.monotonic() - start < 15  # it waits 2 seconds for them
            assert live.process.returncode == 0
            assert "Traceback" not in live.text

    domain = next_domain()
    with Peer(domain) as peer, LiveProcess(domain, tmp_path / "log") as live:
        run(test(), Stage(peer, LEFT, size=(480, 640)).play(LEFT))


def test_a_second_signal_ends_it_though_it_waits_for_a_browser(tmp_path: Path) -> None:
    async def test() -> None:
        async with Browser(live.url) as stuck:
            await clog(stuck, live.url)
            live.process.terminate()
            await eventually(refuses)
            live.process.terminate()
            await eventually(lambda: live.process.poll() is not None, 20)
            assert live.process.returncode == 130
            assert "Traceback" not in live.text

    def refuses() -> bool:
        """Whether it listens no longer, as it does from the first signal on."""
        with socket.socket() as other:
            return other.connect_ex(("127.0.0.1", int(live.url.rpartition(":")[2]))) != 0

    patient = "from dfanet_ros.live import server, view; server.FAREWELL = 100; view.main()"
    domain = next_domain()
    with Peer(domain) as peer, LiveProcess(domain, tmp_path / "log", program=("-c", patient)) as live:
        run(test(), Stage(peer, LEFT, size=(480, 640)).play(LEFT))


async def clog(browser: Browser, url: str) -> None:
    """Let 60 frames be sent to a browser that reads none: more than there is room for on the way."""
    async with Browser(url) as other:
        for _ in range(60):
            await browser.ask()
            await other.frame()


# With a camera and a node of its own


def test_it_starts_camera_and_node_and_ends_them(tmp_path: Path) -> None:
    save_brightness_weights(tmp_path / "brightness.safetensors", (64, 96))
    red, ids, certain = blocks(64, 96, seed=1)
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "1.png"), np.dstack([red, red, red]))
    arguments = ["--source", str(tmp_path / "images"), "--weights", str(tmp_path / "brightness.safetensors")]

    async def test() -> None:
        async with Browser(live.url) as browser:
            packet = await browser.frame(60)
            assert packet.header["camera"] == "/camera"
            assert (packet.planes[0] == ids)[certain].all()

    with LiveProcess(next_domain(), tmp_path / "log", *arguments, program=("-m", "dfanet_ros.live")) as live:
        run(test())
        children = Path(f"/proc/{live.process.pid}/task/{live.process.pid}/children").read_text().split()
        assert len(children) == 2
        live.process.send_signal(signal.SIGHUP)  # the terminal was closed
        live.process.wait(60)
    assert live.process.returncode == 0, live.text
    assert not any(Path("/proc", child).exists() for child in children)


def test_a_camera_that_cannot_be_opened_ends_it_with_the_reason(tmp_path: Path) -> None:
    said = refusal("dfanet_ros.live", "--port", "0", "--source", str(tmp_path / "no.mp4"))
    assert "live: the camera has stopped with exit code 1; the end of its log" in said
    assert f"source is '{tmp_path / 'no.mp4'}', but there is no such file" in said


# Who may look


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # no browser
        ({"Origin": "{url}"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),  # a name that was made to lead here
    ],
)
def test_only_its_own_page_may_look(live: LiveProcess, headers: dict[str, str], status: int) -> None:
    async def test() -> None:
        given = {name: value.format(url=live.url) for name, value in headers.items()}
        if status == 200:
            async with Browser(live.url, **given) as browser:
                assert (await browser.until(lambda state: state["camera"]))["camera"] == LEFT
        else:
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                async with Browser(live.url, **given):
                    pass
            assert error.value.status == status

    run(test())


def test_the_page_loads_nothing_from_elsewhere_and_nothing_else_is_served(live: LiveProcess) -> None:
    async def test() -> None:
        async with aiohttp.ClientSession() as session:
            page = await session.get(live.url)
            policy = page.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
            assert page.headers["X-Content-Type-Options"] == "nosniff"
            assert "http" not in await page.text()
        port = int(live.url.rpartition(":")[2])
        for path in ("/../server.py", "/%2e%2e/server.py", "/..%2fserver.py", "//etc/passwd", "/page/", "/server.py"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)  # a client library would tidy the path
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            assert answer.startswith(b"HTTP/1.1 404"), path

    run(test())


# Matching


def test_the_matcher_drops_what_came_before_a_whole() -> None:
    matcher = Matcher()
    both = ("image", "mask")
    for stamp in (5, 6, 7):
        assert matcher.put(stamp, "image", b"%d" % stamp, both) is None
    assert matcher.put(6, "mask", b"m", both) == {"image": b"6", "mask": b"m"}
    assert len(matcher) == 1  # 5 came before, 7 after
    assert matcher.put(1, "image", b"1", both) is None  # the clock jumped back
    assert matcher.put(1, "mask", b"m", both) == {"image": b"1", "mask": b"m"}
    assert len(matcher) == 0


def test_the_matcher_takes_no_more_memory_than_allowed() -> None:
    matcher = Matcher(most_bytes=1000)
    for stamp in range(100):
        matcher.put(stamp, "image", bytes(90), ("image", "mask"))
        matcher.put(stamp, "image", bytes(90), ("image", "mask"))  # again: counted once
    assert len(matcher) == 11
    assert matcher.put(88, "mask", b"", ("image", "mask")) is None  # that image is gone
    assert matcher.put(99, "mask", b"", ("image", "mask"))
    matcher.put(1, "image", bytes(5000), ("image", "mask"))  # one alone may be larger
    assert matcher.put(1, "mask", b"", ("image", "mask"))
