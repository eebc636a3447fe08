"""Many frames and every fault, for as long as it takes; ends with a table of what came out.

    python test/soak.py [--frames 20000] [--mutated 10000] [--out FILE.md]

Exit code 1 if the node does not bear something, its memory grows by more than 2 %, or a mask is not that of its frame.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where `dfanet_ros` lies

import bad_input
import faults
from mutations import send_strange_messages
from rig import OUTPUTS, Rig
from sensor_msgs.msg import CompressedImage, Image

ENCODINGS = ("mono8", "bgr8", "rgba8", "mono16", "bayer_rggb8", "yuyv")
GROWTH = 2.0  # per cent that the memory may grow by from a tenth of the frames to the end
KILLS = 5
STARTED = time.monotonic()


@dataclass
class Table:
    """What came out, a row a figure."""

    rows: list[str] = field(default_factory=list)
    broken: int = 0

    def add(self, what: str, figure: object, limit: str = "", holds: bool = True) -> None:
        """A row; it counts as broken if the limit does not hold."""
        self.broken += not holds
        self.rows.append(f"| {what} | {figure} | {limit} | {'' if holds else '**broken**'} |")
        report(self.rows[-1])

    def attempt(
        self, rig: Rig, what: str, fault: Callable[[], Any], figures: Callable[[Any], str] | None = None
    ) -> None:
        """Do a fault; one that the node does not bear is a broken row, and a dead node is started again."""
        try:
            became = fault()
            rig.check()
        except Exception as error:
            self.add(what, " ".join(str(error).split())[:300].replace("|", "/"), "is borne", False)
            if rig.node.process.poll() is not None:
                rig.start()
        else:
            self.add(what, figures(became) if figures else "borne", "is borne")

    def __str__(self) -> str:
        return "\n".join(["| | figure | limit | |", "|---|---|---|---|", *self.rows])


def report(text: str) -> None:
    """What is done so far, for those who wait."""
    print(f"{time.monotonic() - STARTED:4.0f} s  {text}", file=sys.stderr, flush=True)


def play(rig: Rig, frames: int) -> list[tuple[int, float]]:
    """Frames, one after the other, each until its mask has come, with subscribers to all outputs.

    Returns:
        Resident memory of the node in MiB after numbers of frames.
    """
    for stream in rig.streams:
        stream.exchange()
        for output in OUTPUTS:
            if output != "mask":
                _listen(rig, f"{stream.camera}/segmentation/{output}")
            _listen(rig, f"{stream.camera}/segmentation/{output}/compressed", CompressedImage)
    curve = []
    for number in range(1, frames + 1):
        if number % 4:
            rig.raw.exchange(rig.raw.frame(encoding=ENCODINGS[number % len(ENCODINGS)]))
        else:
            rig.packed.exchange(rig.packed.frame(encoding=("png", "jpeg")[number // 4 % 2]))
        if number % max(1, frames // 20) == 0:
            curve.append((number, rig.memory))
            report(f"{number} frames, {rig.memory:.1f} MiB")
    return curve


def _listen(rig: Rig, topic: str, kind: type[Any] = Image) -> None:
    """Subscribe and throw away what comes."""
    rig.peer.node.create_subscription(kind, topic, lambda _: None, 1)


def add_frames(table: Table, rig: Rig, frames: int) -> None:
    """The long stream, and the memory after a tenth and at the end of it."""
    start = time.monotonic()
    curve = play(rig, frames)
    seconds = time.monotonic() - start
    table.add("frames, one after the other", f"{frames} in {seconds:.0f} s")
    totals = [rig.counters(stream) for stream in rig.streams]
    segmented = sum(counters["published"] for counters in totals)
    sent = sum(stream.sent for stream in rig.streams)
    table.add("frames sent / segmented", f"{sent} / {segmented}", "at most 1 % not", segmented >= 0.99 * sent)
    table.add("memory after frames, MiB", ", ".join(f"{number}: {memory:.1f}" for number, memory in curve))
    early = next(memory for number, memory in curve if number >= frames / 10)
    growth = 100 * (curve[-1][1] / early - 1)
    label = f"memory from {frames // 10} to {frames} frames"
    table.add(label, f"{early:.1f} to {curve[-1][1]:.1f} MiB, {growth:+.2f} %", f"+{GROWTH:g} %", growth <= GROWTH)


def add_faults(table: Table, rig: Rig, mutated: int) -> None:
    """Each fault; the node's restarts several times."""

    def kills() -> list[float]:
        return [faults.kill_the_node(rig) for _ in range(KILLS)]

    def restarts(seconds: list[float]) -> str:
        return f"{len(seconds)} times, first mask after {min(seconds):.1f} to {max(seconds):.1f} s"

    def latencies(ms: list[float]) -> str:
        return f"latencies after the jumps {min(ms):.1f} to {max(ms):.1f} ms"

    def flooded(rates: dict[str, float]) -> str:
        return (
            f"{rates['sent']:.0f} Hz sent, {rates['possible']:.1f} possible, {rates['masks']:.1f} masks, "
            f"memory +{rates['grown']:.1f} MiB"
        )

    def strange(became: dict[str, int]) -> str:
        names = ("sent", "refused", "published", "superseded", "dropped", "failed")
        return ", ".join(f"{name} {became[name]}" for name in names)

    attempt = table.attempt
    attempt(rig, "node killed and started again", kills, restarts)
    attempt(rig, "camera killed and replaced", lambda: faults.replace_the_camera(rig))
    attempt(rig, "size and encoding change", lambda: faults.change_size_and_encoding(rig), lambda n: f"{n} frames")
    attempt(rig, "stamps repeat, lie before 0", lambda: bad_input.repeat_and_spoil_stamps(rig))
    attempt(rig, "simulated time jumps back", lambda: bad_input.jump_with_the_clock(rig), latencies)
    attempt(rig, "flood at ten times the rate", lambda: faults.flood(rig, 10.0), flooded)
    attempt(rig, "images that claim to be huge, or empty", lambda: bad_input.send_impossible_images(rig), str)
    attempt(rig, "a frame that fails, and one that does not", lambda: bad_input.fail_at_one_camera(rig))
    attempt(rig, "bad parameters and transitions", lambda: bad_input.send_bad_requests(rig))
    attempt(rig, "subscribers come and go", lambda: faults.come_and_go(rig, 300), lambda _: "300 times")
    attempt(rig, "outputs change under load", lambda: faults.change_outputs_under_load(rig, 100), lambda _: "100 times")
    attempt(rig, "weights lost and found", lambda: faults.lose_the_weights(rig))
    before = rig.memory
    attempt(rig, "random and mutated messages", lambda: send_strange_messages(rig, mutated), strange)
    table.add("memory before and after these", f"{before:.1f} and {rig.memory:.1f} MiB")


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=20_000, help="frames of the long stream")
    parser.add_argument("--mutated", type=int, default=10_000, help="random and mutated messages")
    parser.add_argument("--out", type=Path, help="file for the table")
    arguments = parser.parse_args()
    if arguments.out:
        arguments.out = arguments.out.resolve()
    os.chdir(Path(__file__).resolve().parent.parent)  # where the node's process finds its package
    table = Table()
    with tempfile.TemporaryDirectory() as folder, Rig(Path(folder)) as rig:
        rig.node.wait_until_ready()
        add_frames(table, rig, arguments.frames)
        add_faults(table, rig, arguments.mutated)
        for kind in ("wrong_headers", "wrong_contents"):
            wrong = [text for stream in rig.streams for text in getattr(stream, kind)]
            table.add(f"masks with {kind.replace('_', ' ')}", "; ".join([str(len(wrong)), *wrong[:3]]), "0", not wrong)
        table.add("masks that were right", sum(stream.right for stream in rig.streams))
    print(table)
    if arguments.out:
        arguments.out.write_text(f"{table}\n")
    return int(table.broken > 0)


if __name__ == "__main__":
    sys.exit(main())
