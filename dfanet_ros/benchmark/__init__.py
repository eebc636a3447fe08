"""What the node costs: `python -m dfanet_ros.benchmark` prints a Markdown table."""
