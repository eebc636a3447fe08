"""What the node costs beside its network, with one camera of 720p."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from dfanet_ros.benchmark.engines import CALLS
from dfanet_ros.benchmark.frames import frames
from dfanet_ros.benchmark.results import Measured
from dfanet_ros.demo.session import MASK, Session
from dfanet_ros.node_process import NodeProcess, prepare_process
from dfanet_ros.segmenter import find_weights
from dfanet_ros.serialized import serialized


def measure(row: Measured, device: str, rounds: int, images: Path | None) -> None:
    """Fill in the node's times for this engine.

    Raises:
        NodeError: the node does not answer.
    """
    print(f"the node with {row.name}", file=sys.stderr)
    weights = find_weights(row.weights)
    prepare_process()
    with tempfile.TemporaryDirectory() as folder:
        process = NodeProcess(
            Path(folder) / "node.log",
            weights=str(weights),
            input_height=row.size[0],
            input_width=row.size[1],
            device=device,
            precision=row.precision,
            engine=row.engine,
        )
        with Session(process, [MASK]) as session, process:
            message = serialized(frames(1, images)[0])
            session.connect(message)
            for _ in range(rounds):
                row.frame.append(_time_per_frame(session, message))
                row.latency += _latencies(session, message)


def _time_per_frame(session: Session, message: bytes) -> float:
    """From one mask to the next in ms while there is always a next frame: the inverse of the throughput."""
    exchanges = session.play([message] * (4 * CALLS), most_in_flight=2)
    received = [exchange.received for exchange in exchanges if exchange.received is not None]
    return (received[-1] - received[0]) / 1e6 / (len(received) - 1)


def _latencies(session: Session, message: bytes) -> list[float]:
    """From a camera's stamp to the mask's publication in ms, one frame at a time."""
    exchanges = session.play([message] * (CALLS + 1))[1:]
    return [(exchange.published - exchange.sent) / 1e6 for exchange in exchanges if exchange.published is not None]
