"""The node with two cameras, which the test plays: one of raw, one of compressed images."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from brightness import save_brightness_weights
from checked_stream import SIZE, Stream
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from ros_harness import NodeProcess, Peer, next_domain

NODE = "/segmentation_node"
OUTPUTS = ["mask", "color_mask", "overlay", "confidence"]
TRANSITIONS = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}


class Rig:
    """Everything that the faults need, as a context manager.

    Args:
        folder: an empty one, for weights and logs.

    Attributes:
        node: the newest one.
        failures: how many times frames were meant to fail in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / "brightness.safetensors"
        save_brightness_weights(self.weights, SIZE)
        self.domain = next_domain()
        self.peer = Peer(self.domain)
        self.raw = Stream(self.peer, "/raw")
        self.packed = Stream(self.peer, "/packed", compressed=True)
        self.streams = (self.raw, self.packed)
        self.peer.subscribe("/diagnostics", kind=DiagnosticArray)
        self._starts = 0
        self.node = self.start()

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        self.node.__exit__()
        self.peer.__exit__()

    def start(self) -> NodeProcess:
        """Start the node (again), without waiting for it."""
        self._starts += 1
        self.failures = 0
        topics = f"[{', '.join(stream.topic for stream in self.streams)}]"
        # One thread: on a busy machine, OpenMP's threads wait for each other longer than this small network takes.
        with patch.dict(os.environ, OMP_NUM_THREADS="1"):
            self.node = NodeProcess(
                self.domain,
                self.folder / f"node_{self._starts}.log",
                weights=self.weights,
                backbone="xception_b",
                image_topics=topics,
            )
        return self.node

    def check(self) -> None:
        """Raises AssertionError unless the node lives, gives right masks, and never gave a wrong one."""
        for stream in self.streams:
            assert self.node.process.poll() is None, f"the node has died; its log:\n{self.node.text}"
            stream.exchange()
            assert not stream.wrong, stream.wrong[:5]
        assert self.node.text.count("frames were dropped") == self.failures, self.node.text

    # Lifecycle and parameters

    @property
    def state(self) -> str:
        return self.peer.call(GetState, f"{NODE}/get_state", GetState.Request()).current_state.label

    def change(self, transition: str) -> bool:
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        return self.peer.call(ChangeState, f"{NODE}/change_state", request).success

    def set(self, name: str, value: Any) -> tuple[bool, str]:
        return self.peer.set_parameter(NODE, name, value)

    def configure_anew(self, **parameters: Any) -> None:
        """Clean the node up and activate it with these parameters."""
        assert self.change("deactivate") and self.change("cleanup")
        for name, value in parameters.items():
            assert self.set(name, value) == (True, "")
        assert self.change("configure") and self.change("activate")

    # Measures

    @property
    def memory(self) -> float:
        """Resident memory of the node in MiB."""
        pages = Path(f"/proc/{self.node.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def diagnosed(self, stream: Stream) -> dict[str, str]:
        """What the node's next diagnostics say of a camera; `clock` is the node's time in seconds."""
        self.idle(0.05)  # for those that were sent before this call
        arrays = self.peer.received["/diagnostics"]
        arrays.clear()
        assert self.peer.spin_until(lambda: arrays), "there are no diagnostics"
        stamp = arrays[-1].header.stamp
        (status,) = (s for s in arrays[-1].status if s.name.endswith(stream.topic))
        values = {pair.key: pair.value for pair in status.values}
        return values | {"message": status.message, "clock": str(stamp.sec + stamp.nanosec / 1e9)}

    def counters(self, stream: Stream) -> dict[str, int]:
        """What became of a camera's frames since the node was configured."""
        names = ("received", "published", "superseded", "throttled", "refused", "failed", "unwanted")
        values = self.diagnosed(stream)
        counters = {name: int(values[name]) for name in names}
        assert counters["received"] == sum(counters[name] for name in names[1:]), f"frames got lost: {counters}"
        return counters

    def idle(self, seconds: float) -> None:
        """Let messages come for so long, to the millisecond."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.peer.executor.spin_once(timeout_sec=left)

    def wait_for(self, stream: Stream, masks: int, timeout: float = 60.0) -> None:
        """Wait until so many more right masks of a stream have come."""
        wanted = stream.right + masks
        came = self.peer.spin_until(lambda: stream.right >= wanted, timeout)
        assert came, f"{wanted - stream.right} of {masks} masks of {stream.camera} did not come in {timeout:.0f} s"
