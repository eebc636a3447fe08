"""The real segmentation node as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

CAMERA = "/camera/image_raw"  # the topic of the only camera


class NodeError(RuntimeError):
    """The node does not do what it should; the text ends with the end of its log."""


class NodeProcess:
    """The node, running from `with` on.

    Args:
        log: file for what it prints.
        parameters: of the node, beside its image topic.
    """

    def __init__(self, log: Path, **parameters: str | int) -> None:
        self.log = log
        self._command = [sys.executable, "-m", "dfanet_ros.segmentation_node", "--ros-args"]
        for name, value in {"image_topics": [CAMERA], **parameters}.items():
            self._command += ["-p", f"{name}:={json.dumps(value)}"]  # JSON is YAML, with every text quoted

    def __enter__(self) -> NodeProcess:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as log:
            # In a session of its own, so that Ctrl-C reaches us only and we stop the node in order.
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def check(self) -> None:
        """Raises NodeError if the process has ended or its node could not be configured."""
        if self._process.poll() is not None:
            raise self.error(f"the node has stopped with exit code {self._process.returncode}")
        if "cannot configure: " in self.log.read_text(errors="replace"):
            raise self.error("the node could not be configured")

    def error(self, text: str) -> NodeError:
        """An error with this text and the end of the log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return NodeError("\n".join([f"{text}; the end of its log, {self.log}:", *lines[-15:]]))


def prepare_process() -> None:
    """What this process and the node need to talk, unless the user chose otherwise; to be called before rclpy.init."""
    os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")  # the default ones lose large images
    if "ROS_DOMAIN_ID" not in os.environ:  # nobody else shall see the frames
        os.environ["ROS_DOMAIN_ID"] = str(_free_domain())
    # SIGTERM (of `timeout`, say) has to stop the node and close the bags too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


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
