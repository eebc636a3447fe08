"""Cameras and their masks in a browser: `python -m dfanet_ros.live --help`, or `live_view` beside running nodes."""
