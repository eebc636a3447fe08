"""Real-time semantic segmentation of camera images with DFANet, for ROS 2."""

import os

__version__ = "0.1.0"

# By default, OpenCV's threads spin for a while after each image they had a part in, on the cores where the network is
# computed meanwhile: a node with OpenVINO in bf16 took 5 % more time and 10 % more of the processor for a frame. It has
# to stand here, for OpenCV looks when it is loaded.
os.environ.setdefault("OPENCV_THREAD_POOL_ACTIVE_WAIT_WORKER", "1")
