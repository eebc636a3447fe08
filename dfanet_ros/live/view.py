"""`live_view`: serves cameras and masks of nodes that run already to browsers."""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

from rclpy.utilities import remove_ros_args

from dfanet_ros.interruption import EXIT_CODE, requests_to_end
from dfanet_ros.live.receiver import Receiver
from dfanet_ros.live.viewers import Viewers
from dfanet_ros.node_process import ModuleProcess, NodeError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CHECK_PERIOD = 0.5  # seconds between two looks at the processes
NICENESS = 5  # whoever looks on leaves the processor to the node


class LiveError(RuntimeError):
    """The page cannot be served; the text says why."""


def main() -> None:
    """Serve until interrupted; exit code 1 with a sentence if that cannot be."""
    parser = argparse.ArgumentParser(
        prog="live_view",
        description="Shows cameras with the masks that the segmentation node publishes, live in a browser. It starts "
        "no other node.",
    )
    add_options(parser)
    arguments = parser.parse_args(remove_ros_args(sys.argv)[1:])
    run("live_view", arguments)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of whatever serves the page."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; default: %(default)s, this machine only. 0.0.0.0: whoever reaches this machine "
        "sees the cameras, for there is no password",
    )
    parser.add_argument(
        "--allow",
        nargs="+",
        default=[],
        metavar="NAME",
        help="more names under which browsers may open the page, e.g. robot.lan or that of a proxy; default: "
        "localhost, this machine's name, --host, and addresses",
    )
    parser.add_argument("--port", type=int, default=8080, help="default: %(default)s; 0: one that is free")
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=[],
        metavar="CAMERA",
        help="namespaces of the cameras to show, e.g. /front /left; default: all that are segmented",
    )


def run(name: str, arguments: argparse.Namespace, processes: Sequence[ModuleProcess] = ()) -> None:
    """Serve the page while the processes run, until interrupted; exit code 1 with a sentence if that cannot be."""
    try:
        asyncio.run(_serve(name, arguments, processes))
    except (LiveError, NodeError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(EXIT_CODE)


async def _serve(name: str, arguments: argparse.Namespace, processes: Sequence[ModuleProcess]) -> None:
    try:
        from dfanet_ros.live.server import create_app, listen
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise LiveError(
            "the page is served by aiohttp, which is not installed: apt install python3-aiohttp, or pip install aiohttp"
        ) from error
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def interrupt(number: signal.Signals) -> None:
        """The first of a kind is a request; at the second, whoever is waited for is not waited for any longer."""
        stop.set()
        loop.remove_signal_handler(number)
        signal.signal(number, signal.default_int_handler)

    for number in (signal.SIGINT, *requests_to_end()):
        loop.add_signal_handler(number, interrupt, number)

    def in_loop(call: Callable[..., None]) -> Callable[..., None]:
        """The same call for other threads: it is made in the event loop's."""
        return lambda *values: _forward(loop, call, *values)

    def report(camera: str, error: Exception) -> None:
        receiver.node.get_logger().warning(f"a frame of {camera} cannot be shown: {error}", throttle_duration_sec=5.0)

    with ExitStack() as stack:
        # One thread: frames are encoded one after the other, and the loop is free meanwhile.
        encoder = stack.enter_context(ThreadPoolExecutor(1, "encoder"))
        viewers = Viewers(encoder, lambda names: receiver.look_at(names), report)
        names = [f"/{camera.strip('/')}" for camera in arguments.cameras]
        receiver = Receiver(names, sys.argv, in_loop(viewers.cameras), in_loop(viewers.frame), in_loop(viewers.labels))
        try:
            app = create_app(viewers, arguments.host, arguments.allow)
            runner, port = await listen(app, arguments.host, arguments.port)
        except (OSError, OverflowError) as error:
            raise LiveError(_cannot_listen(arguments.host, arguments.port, error)) from error
        # Last in, first out: the browsers' connections end before what they are fed from.
        started = stack.enter_context(ExitStack())
        for process in processes:
            started.enter_context(process)
        os.nice(NICENESS)  # after the processes, which would inherit it, and before our threads, which shall
        stack.enter_context(receiver)
        stack.callback(started.close)  # before the receiver, which could wait for them (eProsima/Fast-DDS#6066)
        try:
            _announce(name, arguments.host, port)
            while not stop.is_set():
                for process in processes:
                    process.check()
                if receiver.ended:
                    raise LiveError("no camera is received any more, for ROS has ended in this process: start it again")
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(stop.wait(), CHECK_PERIOD)
        finally:
            await runner.cleanup()


def _forward(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *values: Any) -> None:
    loop.call_soon_threadsafe(call, *values)


def _announce(name: str, host: str, port: int) -> None:
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    shown = f"[{shown}]" if ":" in shown else shown
    print(f"{name}: open http://{shown}:{port} in a browser; Ctrl-C ends it", flush=True)
    if host not in LOOPBACK:
        print(f"{name}: whoever can reach {host}:{port} sees the cameras: there is no password", flush=True)


def _cannot_listen(host: str, port: int, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken, perhaps by another viewer: choose one, e.g. --port {port + 1}, or 0"
    if isinstance(error, OverflowError):
        return f"--port is {port}, but has to be from 0 to 65535"
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return f"port {port} may not be used by this user: choose one from 1024 on, e.g. --port 8080"
    return f"cannot listen on port {port} of {host} ({error}): --host has to be an address of this machine"


if __name__ == "__main__":
    main()
