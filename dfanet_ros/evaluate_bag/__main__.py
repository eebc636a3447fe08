"""`python -m dfanet_ros.evaluate_bag`, and what `ros2 run dfanet_ros evaluate_bag` starts."""

from __future__ import annotations

from dfanet_ros.bags import require


def main() -> None:
    """Run the evaluation."""
    require("evaluate_bag", "rosbags", "tqdm", "matplotlib", "jinja2", "PyYAML")
    from dfanet_ros.evaluate_bag.command import run  # not before it is known that all is there

    run()


if __name__ == "__main__":
    main()
