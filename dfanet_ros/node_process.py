"""Nodes as processes of their own, and the environment in which they see each other."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from dfanet_ros import transports
from dfanet_ros.interruption import requests_to_end

CAMERA = "/camera/image_raw"  # the topic of the only camera


Value = str | int | float | bool | list[str]
AnyProcess = TypeVar("AnyProcess", bound="ModuleProcess")


class NodeError(RuntimeError):
    """A node does not do what it should; the text ends with the end of its log."""


class ModuleProcess:
    """`python -m MODULE` with ROS arguments, running from `with` on and interrupted at its end.

    Args:
        name: what sentences call it, e.g. `the camera source`.
        module: e.g. `dfanet_ros.camera_source`.
        log: file for what it prints.
        ros_arguments: beside the parameters, e.g. `("-r", "__ns:=/camera")`.
        parameters: of its node.
    """

    def __init__(
        self,
        name: str,
        module: str,
        log: Path,
        ros_arguments: Sequence[str] = (),
        **parameters: Value,
    ) -> None:
        self.log = log
        self._name = name
        self._command = [sys.executable, "-m", module, "--ros-args", *ros_arguments]
        for parameter, value in parameters.items():
            self._command += ["-p", f"{parameter}:={json.dumps(value)}"]  # JSON is YAML, with every text quoted

    def __enter__(self: AnyProcess) -> AnyProcess:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as log:
            # In a session of its own, so that Ctrl-C reaches us only and we stop the nodes in order.
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def check(self) -> None:
        """Raises NodeError if the process has ended."""
        if self._process.poll() is not None:
            raise self.error(f"{self._name} has stopped with exit code {self._process.returncode}")

    def error(self, text: str) -> NodeError:
        """An error with this text and the end of the log."""
        lines = self._printed().splitlines()
        return NodeError("\n".join([f"{text}; the end of its log, {self.log}:", *lines[-15:]]))

    def _printed(self) -> str:
        return self.log.read_text(errors="replace")


class NodeProcess(ModuleProcess):
    """The segmentation node.

    Args:
        log: file for what it prints.
        parameters: of the node, beside its image topic.
    """

    MODULE = "dfanet_ros.segmentation_node"

    def __init__(self, log: Path, **parameters: Value) -> None:
        given: dict[str, Any] = {"image_topics": [CAMERA], **parameters}
        super().__init__("the node", self.MODULE, log, **given)

    def check(self) -> None:
        """Raises NodeError if the process has ended or its node could not be configured."""
        super().check()
        if "cannot configure: " in self._printed():
            raise self.error("the node could not be configured")


def prepare_process() -> None:
    """What this process and the node need to talk, unless the user chose otherwise; to be called before rclpy.init."""
    os.environ.setdefault(transports.VARIABLE, transports.LARGE_DATA)  # the default ones lose large images
    if "ROS_DOMAIN_ID" not in os.environ:  # nobody else shall see the frames
        os.environ["ROS_DOMAIN_ID"] = str(_free_domain())
    # SIGTERM (of `timeout`, say) and a closed terminal have to stop the node and close the bags too, as Ctrl-C does.
    for number in requests_to_end():
        signal.signal(number, signal.default_int_handler)


def _free_domain() -> int:
    """A ROS domain that no process of this machine takes part in."""
    for offset in range(101):
        domain = 1 + (os.getpid() + offset) % 101
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
            try:
                port.bind(("", 7400 + 250 * domain))  # where DDS discovers others; taken if somebody listens
            except OSError:
                continue
        return domain
    return 0
