"""`python -m dfanet_ros.bag_from_images`, and what `ros2 run dfanet_ros bag_from_images` starts."""

from __future__ import annotations

from dfanet_ros.bags import require


def main() -> None:
    """Write the bag."""
    require("bag_from_images", "rosbags", "tqdm")
    from dfanet_ros.bags.from_images import run  # not before it is known that all is there

    run()


if __name__ == "__main__":
    main()
