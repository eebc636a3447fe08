"""A viewer in a process of its own, which can be killed: subscribes to images.

python test/viewer_process.py TOPIC
"""

from __future__ import annotations

import sys

import rclpy
from sensor_msgs.msg import Image


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("viewer")
    node.create_subscription(Image, sys.argv[1], lambda _: None, 1)
    rclpy.spin(node)


if __name__ == "__main__":
    main()
