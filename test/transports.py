"""How many large images arrive, by the transports of Fast DDS that camera, node and viewer have; ends with a table.

    python test/transports.py [--nodes default LARGE_DATA fastdds.xml] [--profile FILE.xml]

The camera publishes best effort, as drivers do; the viewer subscribes to the colour mask as RViz does. All three are
processes of their own. The table has the share of the camera's frames that the node received, and the share of the
node's colour masks that the viewer did.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where `dfanet_ros` lies

from brightness import save_brightness_weights
from ros_harness import TRANSPORTS, NodeProcess, next_domain

ROOT = Path(__file__).resolve().parent.parent
PROFILE = ROOT / "config/fastdds.xml"
CHOICES = ("default", "LARGE_DATA", "fastdds.xml")
SIZES = {"720p": (720, 1280), "1080p": (1080, 1920)}
LAST_WITHIN = 4.0  # seconds that the last mask has: what is lost of a reliable one is sent again after 3


@dataclass(frozen=True)
class Case:
    """The transports of a camera and a viewer, and the name of the images' size."""

    camera: str
    viewer: str
    size: str

    @property
    def namespace(self) -> str:
        return "/" + re.sub(r"\W", "_", f"{self.camera}_{self.viewer}_{self.size}")


@dataclass(frozen=True)
class Shares:
    """What arrived, from 0 to 1; None where nothing was sent, or the other side was not found.

    Attributes:
        frames: of the camera's frames at the node.
        masks: of the node's colour masks at the viewer.
    """

    frames: float | None
    masks: float | None

    def __str__(self) -> str:
        return " | ".join("-" if share is None else f"{100 * share:.0f} %" for share in (self.frames, self.masks))


def environment(transports: str, profile: Path, domain: int) -> dict[str, str]:
    """That of a process with these transports."""
    chosen = {name: value for name, value in os.environ.items() if name not in TRANSPORTS}
    chosen["ROS_DOMAIN_ID"] = str(domain)
    if transports == "fastdds.xml":  # Fast DDS 3 knows the first name, Fast DDS 2 (Jazzy) the second
        chosen |= {"FASTDDS_DEFAULT_PROFILES_FILE": str(profile), "FASTRTPS_DEFAULT_PROFILES_FILE": str(profile)}
    elif transports != "default":
        chosen["FASTDDS_BUILTIN_TRANSPORTS"] = transports
    return chosen


def measure(
    node_transports: str,
    cases: Sequence[Case],
    frames: int = 50,
    rate: float = 10.0,
    reliability: str = "best_effort",
    profile: Path = PROFILE,
) -> dict[Case, Shares]:
    """What arrives of so many frames a case, at so many a second, with one node for all cases.

    The reliability is that of the cameras and of the node's subscriptions.
    """
    domain = next_domain()
    found: dict[Case, bool] = {}  # whether the viewer saw the node
    viewed: dict[Case, int] = {}

    def start(transports: str, *role: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("counted_images.py")), *map(str, role)],
            env=environment(transports, profile, domain),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "brightness.safetensors"
        save_brightness_weights(weights, (96, 128))
        with NodeProcess(
            domain,
            Path(folder) / "node.log",
            environment=environment(node_transports, profile, domain),
            image_topics=f"[{', '.join(f'{case.namespace}/image_raw' for case in cases)}]",
            weights=weights,
            backbone="xception_b",
            image_reliability=reliability,
        ) as node:
            node.wait_until_ready()
            for case in cases:
                viewer = start(case.viewer, "count", f"{case.namespace}/segmentation/color_mask")
                assert viewer.stdout is not None
                found[case] = int(viewer.stdout.readline()) > 0
                camera = start(
                    case.camera, "send", f"{case.namespace}/image_raw", *SIZES[case.size], frames, rate, reliability
                )
                camera.communicate()
                time.sleep(LAST_WITHIN)
                viewed[case] = int(viewer.communicate()[0])
            node.stop()
            counters = {case: node.counters(f"{case.namespace}/image_raw") for case in cases}
    shares = {}
    for case, counted in counters.items():
        masks = counted["published"]
        shares[case] = Shares(counted["received"] / frames, viewed[case] / masks if found[case] and masks else None)
    return shares


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for role in ("cameras", "nodes", "viewers"):
        parser.add_argument(f"--{role}", nargs="+", default=CHOICES, help=f"transports; default: {' '.join(CHOICES)}")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--profile", type=Path, default=PROFILE, help="what fastdds.xml stands for")
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--rate", type=float, default=10.0, help="frames a second")
    arguments = parser.parse_args()
    profile = arguments.profile.resolve()
    os.chdir(ROOT)  # where the node's process finds its package
    columns = [f"{size}: {way}" for size in arguments.sizes for way in ("camera to node", "node to viewer")]
    print(f"| camera | node | viewer | {' | '.join(columns)} |\n|---|---|---|{'---:|' * len(columns)}", flush=True)
    pairs = [(camera, viewer) for camera in arguments.cameras for viewer in arguments.viewers]
    cases = [Case(*pair, size) for pair in pairs for size in arguments.sizes]
    for node in arguments.nodes:
        shares = measure(node, cases, arguments.frames, arguments.rate, profile=profile)
        for camera, viewer in pairs:
            cells = [str(shares[Case(camera, viewer, size)]) for size in arguments.sizes]
            print(f"| {' | '.join([camera, node, viewer, *cells])} |", flush=True)


if __name__ == "__main__":
    main()
