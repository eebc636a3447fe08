"""The two ends of test/transports.py, each a process of its own: they have the transports of their environment.

python test/counted_images.py send TOPIC HEIGHT WIDTH FRAMES RATE RELIABILITY    publishes as a camera driver does
python test/counted_images.py count TOPIC    prints how many publishers it found, and, when its input is closed, how
                                             many images came
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where `dfanet_ros` lies

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from dfanet_ros.interruption import taking_down

FOUND_WITHIN = 15.0  # seconds that the other side may take to be found
SETTLED = 1.0  # seconds from then to the first frame


def send(node: Node, topic: str, size: tuple[int, int], frames: int, rate: float, reliability: str) -> None:
    """Publish grey images, once somebody listens or is not going to."""
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])
    publisher = node.create_publisher(Image, topic, qos)
    found(publisher.get_subscription_count)
    time.sleep(SETTLED)
    height, width = size
    image = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    image.data = array("B", bytes([128])) * (3 * height * width)
    start = time.monotonic()
    for number in range(1, frames + 1):
        image.header.stamp.sec = number
        publisher.publish(image)
        time.sleep(max(0.0, start + number / rate - time.monotonic()))


def count(node: Node, topic: str) -> None:
    """Subscribe as RViz does, reliably."""
    images = []
    node.create_subscription(Image, topic, lambda _: images.append(1), QoSProfile(depth=1), raw=True)
    print(found(lambda: node.count_publishers(topic)), flush=True)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    os.set_blocking(sys.stdin.fileno(), False)
    while sys.stdin.buffer.read(1) is None:  # b"" once it is closed
        executor.spin_once(timeout_sec=0.1)
    print(len(images), flush=True)


def found(count_matched: Callable[[], int]) -> int:
    """How many there are on the other side, as soon as there is one."""
    end = time.monotonic() + FOUND_WITHIN
    while not (count := count_matched()) and time.monotonic() < end:
        time.sleep(0.05)
    return count


def main() -> None:
    role, topic, *settings = sys.argv[1:]
    rclpy.init()
    node = rclpy.create_node(role)
    if role == "send":
        height, width, frames, rate, reliability = settings
        send(node, topic, (int(height), int(width)), int(frames), float(rate), reliability)
    else:
        count(node, topic)
    with taking_down():
        node.destroy_node()
        rclpy.shutdown()


if __name__ == "__main__":
    main()
