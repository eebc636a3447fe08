"""A camera in a process of its own, which can be killed: plays files with serialised images in a loop.

python test/camera_process.py TOPIC RATE FILE...
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image


def main() -> None:
    topic, rate, *files = sys.argv[1:]
    messages = [Path(file).read_bytes() for file in files]
    rclpy.init()
    publisher = rclpy.create_node("camera").create_publisher(Image, topic, QoSProfile(depth=1))
    while rclpy.ok():
        for message in messages:
            publisher.publish(message)
            time.sleep(1 / float(rate))


if __name__ == "__main__":
    main()
