"""`--help` of the nodes, which ROS itself does not answer."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable

from dfanet_ros.parameters import Parameter

WIDTH = 100  # characters


def answer_help(name: str, description: str, parameters: Iterable[Parameter]) -> None:
    """Print what the node does and its parameters, and end the process, if the command line asks for it."""
    listed = "\n".join(map(_described, parameters))
    parser = argparse.ArgumentParser(
        prog=name,
        usage=f"{name} [--ros-args -p PARAMETER:=VALUE -r TOPIC:=TOPIC ...]",
        description=textwrap.fill(description, WIDTH),
        epilog=f"parameters:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_known_args(sys.argv[1:])


def _described(parameter: Parameter) -> str:
    text = f"{parameter.description} Allowed: {parameter.allowed}. Default: {parameter.default_text}"
    if parameter.live:
        text += ". May change while the node runs."
    return f"  {parameter.name}\n{textwrap.fill(text, WIDTH, initial_indent='      ', subsequent_indent='      ')}"
