"""Plays frames through real DDS to the real node and shows what came back: `python -m dfanet_ros.demo --help`."""
