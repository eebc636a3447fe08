"""Real-time semantic segmentation of camera images with DFANet, for ROS 2."""

__version__ = "0.1.0"
