"""Under which names the live view's server answers: real HTTP, without DDS."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("aiohttp", reason="aiohttp is not installed")

from dfanet_ros.live.server import create_app, listen
from dfanet_ros.live.viewers import Viewers


def asked(host: str, *headers: str, allowed: tuple[str, ...] = ()) -> tuple[int, str]:
    """The answer to who asks for the page: status and text."""

    async def ask() -> str:
        viewers = Viewers(ThreadPoolExecutor(1), lambda _: None, lambda *_: None)
        runner, port = await listen(create_app(viewers, "127.0.0.1", allowed), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = ["GET / HTTP/1.1", f"Host: {host}", *headers, "Connection: close", "", ""]
        writer.write("\r\n".join(request).encode())
        answer = await reader.read()
        writer.close()
        await runner.cleanup()
        return answer.decode()

    head, _, text = asyncio.run(ask()).partition("\r\n\r\n")
    return int(head.split()[1]), text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "localhost.", "127.0.0.1:80", "[::1]:80", "10.0.0.5"])
def test_it_knows_itself_by_address_and_as_localhost(host: str) -> None:
    assert asked(host)[0] == 200


def test_another_name_has_to_be_allowed() -> None:
    status, text = asked("robot.lan:8080")
    assert status == 403
    assert "start it with --allow robot.lan." in text
    for host in ("robot.lan:8080", "Robot.LAN.", "localhost"):
        assert asked(host, allowed=("other", "robot.lan"))[0] == 200
    assert asked("evil.example", allowed=("robot.lan",))[0] == 403


def test_a_proxy_may_ask_under_another_name_than_the_browser() -> None:
    origin = "Origin: https://robot.lan"
    assert asked("127.0.0.1:8080", origin)[0] == 403
    assert asked("127.0.0.1:8080", origin, allowed=("robot.lan",))[0] == 200
    for other in ("https://evil.example", "null", "http://[::1"):
        for allowed in ((), ("robot.lan",), ("[",)):
            assert asked("127.0.0.1:8080", f"Origin: {other}", allowed=allowed)[0] == 403


def test_what_is_no_name_is_a_bad_request() -> None:
    status, text = asked("[::1")
    assert status == 400
    assert "The request is for '[::1', which is no name of a host." in text
