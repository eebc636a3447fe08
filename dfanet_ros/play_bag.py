"""Plays a bag over DDS where ros2bag is not installed: `python -m dfanet_ros.play_bag --help`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock

from dfanet_ros.bags import BagError, require
from dfanet_ros.interruption import EXIT_CODE, Interruption, taking_down

CLOCK_PERIOD = 0.01  # seconds between two messages on /clock
MOMENT = 0.05  # seconds between two looks whether we are to stop
MUTUAL = 1.0  # seconds after which a subscriber that we have found has found us, too
QOS = QoSProfile(depth=10)  # and reliable: a subscriber that keeps up loses nothing
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)  # maps, static transforms
DELIVERED_WITHIN = Duration(seconds=5)


class Player:
    """Publishes the messages of a bag with the time between them that they had.

    Args:
        node: that the publishers belong to.
        topics: their types, like `sensor_msgs/msg/Image`, by name.
        rate: the speed; 1: as recorded.
        latched: those of them whose messages later subscribers get, too.
        clock: whether to publish the bag's time on /clock.
        stopped: is asked all the time whether to stop.

    Raises:
        BagError: a type is not installed.
    """

    def __init__(
        self,
        node: Node,
        topics: dict[str, str],
        rate: float,
        latched: Collection[str],
        clock: bool,
        stopped: Callable[[], bool],
    ) -> None:
        self._rate = rate
        self._stopped = stopped
        self._publishers = {
            topic: node.create_publisher(_type(kind), topic, LATCHED if topic in latched else QOS)
            for topic, kind in topics.items()
        }
        self._clock: Publisher[Clock] | None = node.create_publisher(Clock, "/clock", QOS) if clock else None
        self._told = 0  # the latest time on /clock, in ns

    def wait(self, seconds: float) -> list[str]:
        """Wait at most so long until somebody subscribes to each topic; gives those that nobody subscribes to."""
        end = time.monotonic() + seconds
        while True:
            alone = [topic for topic, publisher in self._publishers.items() if not publisher.get_subscription_count()]
            if not alone or time.monotonic() >= end or self._stopped():
                time.sleep(MUTUAL)
                return alone
            time.sleep(MOMENT)

    def play(self, messages: Any) -> int:
        """Publish messages (topic, time in ns, bytes) until they end or we are stopped; gives how many were."""
        count, first, start = 0, 0, time.monotonic()
        self._told = 0  # only here may the time jump back
        for topic, received, data in messages:
            if not count:
                first = received
            if not self._wait_until(received, first, start):
                break
            self._tell(received)
            self._publishers[topic].publish(bytes(data))
            count += 1
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(DELIVERED_WITHIN)
        return count

    def _wait_until(self, received: int, first: int, start: float) -> bool:
        """Wait until it is the bag's time `received`, and tell the time meanwhile; False if we are to stop."""
        due = start + (received - first) / 1e9 / self._rate
        period = CLOCK_PERIOD if self._clock else MOMENT
        while not self._stopped():
            left = due - time.monotonic()
            if left <= 0:
                return True
            time.sleep(min(left, period))
            self._tell(min(received, round(first + (time.monotonic() - start) * self._rate * 1e9)))
        return False

    def _tell(self, now: int) -> None:
        """Publish the time (ns), or a later one that was told before: messages may be out of order."""
        if self._clock is not None:
            self._told = max(self._told, now)
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(self._told, 10**9)
            self._clock.publish(message)


def main() -> None:
    """Play a bag; exit code 1 with a sentence if that cannot be done, 130 if it was interrupted."""
    arguments = _arguments(remove_ros_args(sys.argv)[1:])
    require("play_bag", "rosbags")
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # of rcl (arguments)
        sys.exit(f"error: {error}")
    node = rclpy.create_node("play_bag")
    try:
        with Interruption() as interruption:
            _play(node, arguments, lambda: interruption.requested)
            stopped = interruption.requested
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    finally:
        with taking_down():
            node.destroy_node()
            rclpy.try_shutdown()
    sys.exit(EXIT_CODE if stopped else 0)


def _play(node: Node, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    from dfanet_ros.bags.reader import BagReader  # not before it is known that rosbags is there

    with BagReader(arguments.bag) as bag:
        topics = _chosen(bag.topics, arguments.topics, bag.listing())
        player = Player(node, topics, arguments.rate, bag.latched, arguments.clock, stopped)
        if arguments.wait and (alone := player.wait(arguments.wait)) and not stopped():
            print(f"note: nobody subscribes to {', '.join(alone)}; playing all the same", file=sys.stderr)
        end = time.monotonic() + arguments.delay
        while not stopped() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        count = 0
        while not stopped():
            played = player.play(bag.messages(topics))
            count += played
            if not arguments.loop or not played:
                break
        if bag.problem:
            print(f"note: {bag.problem}", file=sys.stderr)
        print(f"played {count} messages of {arguments.bag}")


def _chosen(there: dict[str, str], named: Sequence[str] | None, listing: str) -> dict[str, str]:
    """The topics to play, with their types: those that were named; without names all whose types are installed."""
    if named is not None:
        if missing := [topic for topic in named if topic not in there]:
            raise BagError(f"there is no topic {' and no '.join(missing)} in the bag; {listing}")
        return {topic: there[topic] for topic in named}
    chosen = {}
    for topic, kind in there.items():
        try:
            _type(kind)
        except BagError as error:
            print(f"note: {topic} is not played: {error}", file=sys.stderr)
        else:
            chosen[topic] = kind
    if not chosen:
        raise BagError(f"nothing of the bag can be played; {listing}")
    return chosen


def _type(kind: str) -> type[Any]:
    """The class of a message type like `sensor_msgs/msg/Image`."""
    package, _, name = kind.replace("/msg/", "/").partition("/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError, TypeError) as error:  # the last if there is no package before the name
        raise BagError(f"the message type {kind} is not installed") from error


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dfanet_ros.play_bag",
        description="Publishes the messages of a bag (MCAP or SQLite) as they were recorded. Arguments of ROS, e.g. "
        "--ros-args -r /camera/image_raw:=/front/image_raw, come last.",
    )
    parser.add_argument("bag", type=Path, help="the bag's folder, or a file of it")
    parser.add_argument("--rate", type=float, default=1.0, help="speed; 1: as recorded (default: %(default)g)")
    parser.add_argument(
        "--clock", action="store_true", help="publish the bag's time on /clock, for nodes with use_sim_time"
    )
    parser.add_argument("--topics", nargs="+", metavar="TOPIC", help="play these only")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until interrupted")
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait at most this many seconds until somebody subscribes to each topic (default: %(default)g)",
    )
    parser.add_argument(
        "--delay",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="then wait this many seconds, in which subscribers may find each other (default: %(default)g)",
    )
    arguments = parser.parse_args(argv)
    if not 0 < arguments.rate < float("inf"):
        parser.error(f"--rate is {arguments.rate:g}, but has to be more than 0")
    for name in ("wait", "delay"):
        if not 0 <= getattr(arguments, name) < float("inf"):
            parser.error(f"--{name} is {getattr(arguments, name):g}, but has to be 0 or more")
    return arguments


if __name__ == "__main__":
    main()
