"""The transports of Fast DDS that carry large images between processes that all have them."""

from __future__ import annotations

import os

VARIABLE = "FASTDDS_BUILTIN_TRANSPORTS"

# Jazzy's shared memory holds 512 KB of a sender unless sockets_size says otherwise (it is twice that), and larger
# images are lost. Humble's Fast DDS does not know the option.
LARGE_DATA = "LARGE_DATA" if os.environ.get("ROS_DISTRO") == "humble" else "LARGE_DATA?sockets_size=16MB"
