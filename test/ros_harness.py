"""The real node in its own process, and a peer that talks to it over real DDS."""

from __future__ import annotations

import atexit
import fcntl
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import rclpy
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from dfanet_ros import transports

# By which a user chooses transports of Fast DDS.
TRANSPORTS = (transports.VARIABLE, "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")

_domains = itertools.count(10 + 7 * (os.getpid() % 11))


def next_domain() -> int:
    """A ROS_DOMAIN_ID for one test, in which nobody else is (below 102, above which ports may be taken)."""
    for domain in itertools.islice(_domains, 100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
            try:
                port.bind(("", 7400 + 250 * (domain % 100)))  # where DDS discovers others
            except OSError:
                continue
        return domain % 100
    raise RuntimeError("all ROS domains are taken")


def kill(process: subprocess.Popen[Any]) -> None:
    """SIGKILL; what Fast DDS leaves of it in /dev/shm, which may make later participants deaf, is removed."""
    locks = []
    if process.poll() is None:
        for file in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                locks.append(Path(os.readlink(file)))
    process.kill()
    process.wait()
    for lock in locks:
        if lock.match("/dev/shm/fast*_el"):
            with suppress(OSError), lock.open() as opened:  # gone, or held by another process
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                name = lock.name.removesuffix("_el")
                for left in (name, f"sem.{name}_mutex", lock.name):
                    lock.with_name(left).unlink(missing_ok=True)


class NodeProcess:
    """`python -m dfanet_ros.segmentation_node` with parameters, as a context manager; its output is kept.

    `module` names another module whose node is to run, `program` a file to run instead with its first arguments,
    `environment` all of its environment.
    """

    def __init__(
        self,
        domain: int,
        log: Path,
        *ros_arguments: str,
        module: str = "segmentation_node",
        program: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        **parameters: Any,
    ) -> None:
        self.log = log
        if module == "segmentation_node":
            # Other engines prepare each new network for some ten seconds, and on a GPU kernels are compiled first.
            parameters = {"engine": "torch", "device": "cpu", **parameters}
        arguments = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
        self.process = subprocess.Popen(
            [sys.executable, *(program or ("-m", f"dfanet_ros.{module}")), "--ros-args", *ros_arguments, *arguments],
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            env=environment or {**os.environ, "ROS_DOMAIN_ID": str(domain), transports.VARIABLE: transports.LARGE_DATA},
        )

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        # Not killed at once: what Fast DDS then leaves in /dev/shm may make later participants deaf.
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_for_log(self, pattern: str, timeout: float = 60.0) -> re.Match[str]:
        """Wait until the output has the pattern. Raises AssertionError if it does not come or the node ends."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if match := re.search(pattern, self.text):
                return match
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        if match := re.search(pattern, self.text):
            return match
        raise AssertionError(f"'{pattern}' did not come (exit code {self.process.poll()}); the log:\n{self.text}")

    def wait_until_ready(self) -> None:
        self.wait_for_log("images from")

    def wait_for_exit(self, timeout: float = 30.0) -> int:
        return self.process.wait(timeout)

    def stop(self, with_signal: int = signal.SIGINT) -> int:
        """Interrupt the node; gives its exit code."""
        self.process.send_signal(with_signal)
        return self.wait_for_exit()

    def counters(self, topic: str) -> dict[str, int]:
        """What the stopped node said of a topic's frames."""
        line = self.wait_for_log(rf"\]: {topic}: (received .*)").group(1)
        return {name: int(count) for name, count in (entry.split() for entry in line.split(", "))}

    @property
    def text(self) -> str:
        return self.log.read_text()


_ended: list[Peer] = []


@atexit.register
def destroy_ended() -> None:
    """Take down the peers that are not needed any more."""
    while _ended:
        _ended.pop().destroy()


class Peer:
    """Publishes images and keeps what comes back, by topic.

    It is taken down when the next one is made, or at the end: Fast DDS, with LARGE_DATA, may wait for ever for a
    connection to a process that is still there (eProsima/Fast-DDS#6066), and by then the nodes of the test are not.
    """

    def __init__(self, domain: int) -> None:
        destroy_ended()
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("peer", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.received: dict[str, list[Any]] = defaultdict(list)
        self._stamps = itertools.count(1)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.shutdown()
        _ended.append(self)

    def destroy(self) -> None:
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def publisher(
        self, topic: str, reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE, kind: type[Any] = Image
    ) -> Publisher:
        return self.node.create_publisher(kind, topic, QoSProfile(depth=1, reliability=reliability))

    def subscribe(self, *topics: str, kind: type[Any] = Image, qos: QoSProfile | int = 10) -> None:
        for topic in topics:
            self.node.create_subscription(kind, topic, self.received[topic].append, qos)

    def call(self, kind: type[Any], service: str, request: Any, timeout: float = 30.0) -> Any:
        """The answer of a service."""
        client = self.node.create_client(kind, service)
        assert client.wait_for_service(timeout), f"there is no service {service}"
        future = client.call_async(request)
        assert self.spin_until(future.done, timeout), f"{service} did not answer"
        self.node.destroy_client(client)
        return future.result()

    def set_parameter(self, node: str, name: str, value: Any) -> tuple[bool, str]:
        """Whether the node took the value, and what it said."""
        parameter = Parameter(name, value=value).to_parameter_msg()
        (result,) = self.call(
            SetParameters, f"{node}/set_parameters", SetParameters.Request(parameters=[parameter])
        ).results
        return result.successful, result.reason

    def stamp(self, image: Image) -> Image:
        """Give the image a stamp of its own, so that results can be told apart."""
        number = next(self._stamps)
        image.header.stamp.sec, image.header.stamp.nanosec = 1_000_000 + number, number * 1_000 + 7
        return image

    def spin_until(self, condition: Callable[[], Any], timeout: float = 30.0) -> bool:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if condition():
                return True
            self.executor.spin_once(timeout_sec=0.05)
        return bool(condition())

    def spin_for(self, seconds: float) -> None:
        self.spin_until(lambda: False, seconds)

    def result(self, image: Image, *topics: str) -> list[Image] | None:
        """What came on the topics with the stamp of the image, if it has come on each."""
        found = [next((m for m in self.received[t] if m.header.stamp == image.header.stamp), None) for t in topics]
        return [m for m in found if m] if all(found) else None

    def exchange(self, publisher: Publisher, image: Image, *topics: str, timeout: float = 40.0) -> list[Image]:
        """Publish the image until its results have come on all topics (nobody may have been matched at first)."""
        self.stamp(image)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            publisher.publish(image)
            if self.spin_until(lambda: self.result(image, *topics), 2.0):
                return self.result(image, *topics) or []
        raise AssertionError(f"no results on {topics} in {timeout} s")
