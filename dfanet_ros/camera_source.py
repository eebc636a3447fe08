"""The node `camera_source`: publishes a webcam, a video, a folder of images or generated scenes as a camera does."""

from __future__ import annotations

import time
from copy import copy
from threading import Event

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dfanet_ros.calibration import load_calibration
from dfanet_ros.image_messages import message_from_pixels
from dfanet_ros.node_help import answer_help
from dfanet_ros.parameters import Parameter
from dfanet_ros.qos import OVERRIDES
from dfanet_ros.running import declare, running
from dfanet_ros.sources import Picture, SourceLost, open_source

NAME = "camera_source"
AUDIENCE_WITHIN = 5.0  # seconds that a source which is played once waits for a subscriber to come
MUTUAL = 1.0  # seconds more, after which the subscriber has found us, too
DELIVERED_WITHIN = Duration(seconds=2)  # that its last frame has
PATIENCE = 1.0  # seconds between two attempts to get a lost source back
QOS = QoSProfile(depth=1)  # and reliable, as drivers of cameras are
DESCRIPTION = (
    "Publishes a webcam, a video, a folder of images or generated scenes as a camera does: image_raw, camera_info and, "
    "of a source with labels, label."
)
PARAMETERS = (
    Parameter(
        "source",
        "street_scenes",
        "A webcam (its number, or /dev/video0), a video file, a folder of images (labels in .../labels/val go with "
        ".../images/val), or street_scenes, which are generated.",
    ),
    Parameter(
        "rate",
        0.0,
        "Frames a second; 0: the source's own (10 for folders and generated scenes).",
        minimum=0.0,
        maximum=1000.0,
    ),
    Parameter(
        "loop", True, "Begin again at the end; false: end there, and begin when somebody subscribes, or after 5 s."
    ),
    Parameter("frame_id", "camera", "The frame in the headers."),
    Parameter(
        "camera_info_url",
        "",
        "Calibration: a YAML file, also as file:///...; empty: camera_info says the size only.",
    ),
    Parameter("height", 0, "Height of the frames in pixels; 0: the source's own.", minimum=0, maximum=8192),
    Parameter("width", 0, "Width of the frames in pixels; 0: the source's own.", minimum=0, maximum=8192),
)


class CameraSource(Node):
    """Publishes `image_raw`, `camera_info` and, of a source with labels, `label`, all with one header.

    Raises:
        ValueError: a parameter, the source or the calibration is wrong; the sentence says how.
    """

    def __init__(self) -> None:
        super().__init__(NAME)
        self.values = values = declare(self, PARAMETERS)
        url = values["camera_info_url"]
        self._calibration = load_calibration(url) if url else CameraInfo()
        self._source = open_source(values["source"], values["height"], values["width"], values["rate"])
        self._images = self.create_publisher(Image, "image_raw", QOS, qos_overriding_options=OVERRIDES)
        self._infos = self.create_publisher(CameraInfo, "camera_info", QOS, qos_overriding_options=OVERRIDES)
        self._labels = None
        if self._source.labelled:
            self._labels = self.create_publisher(Image, "label", QOS, qos_overriding_options=OVERRIDES)
        self._warned = False  # that the calibration is for another size

    def play(self, stop: Event) -> None:
        """Publish until the source ends, if it does, or `stop` is set.

        Raises:
            ValueError: a frame cannot be read.
        """
        rate = self.values["rate"] or self._source.rate
        pace = Pace(rate, waits=self._source.rate > 0)
        self.get_logger().info(
            f"{self.values['source']} at {f'{rate:g} Hz' if rate else 'its own rate'} on {self._images.topic_name}"
        )
        if not self.values["loop"]:
            self._wait_for_audience(stop)
        lost = False
        while not stop.is_set():
            try:
                for picture in self._source.pictures():
                    if lost:
                        self.get_logger().info("frames come again")
                        lost = False
                    if pace.reaches(stop):
                        self._publish(picture)
                    if stop.is_set():
                        return
            except SourceLost as error:
                if not lost:
                    self.get_logger().warning(f"{error} Trying again every {PATIENCE:g} s.")
                lost = True
                stop.wait(PATIENCE)
            else:
                if not self.values["loop"]:
                    self._images.wait_for_all_acked(DELIVERED_WITHIN)
                    self.get_logger().info(f"{self.values['source']} has ended")
                    return

    def close(self) -> None:
        """Give the source back."""
        self._source.close()

    def _wait_for_audience(self, stop: Event) -> None:
        """Let nobody who has just been started, too, miss the first frames."""
        end = time.monotonic() + AUDIENCE_WITHIN
        while not self._images.get_subscription_count() and time.monotonic() < end and not stop.wait(0.05):
            pass
        stop.wait(MUTUAL)

    def _publish(self, picture: Picture) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self.values["frame_id"])
        self._images.publish(message_from_pixels(picture.frame.pixels, picture.frame.encoding, header))
        info = self._info(*picture.frame.size)
        info.header = header
        self._infos.publish(info)
        if self._labels is not None and picture.ids is not None and self._labels.get_subscription_count():
            self._labels.publish(message_from_pixels(picture.ids, "mono8", header))

    def _info(self, height: int, width: int) -> CameraInfo:
        """The calibration if it is one for this size, else only the size: a wrong one is worse than none."""
        known = self._calibration
        if (known.height, known.width) == (height, width):
            return copy(known)
        if known.height and not self._warned:
            self._warned = True
            self.get_logger().warning(
                f"the calibration is for {known.width} x {known.height}, but frames are {width} x {height}: "
                "camera_info says their size only"
            )
        return CameraInfo(height=height, width=width)


class Pace:
    """Keeps a rate: errors of one frame's time do not add up, and what was missed is not made up for.

    Args:
        rate: frames a second; 0: as they come.
        waits: whether frames wait until they are due; if not, those that come too early are left out.
    """

    def __init__(self, rate: float, waits: bool) -> None:
        self._period = 1 / rate if rate else 0.0
        self._waits = waits
        self._due = time.monotonic()

    def reaches(self, stop: Event) -> bool:
        """Whether it is the turn of the frame that has come, after waiting for it; not if `stop` was set meanwhile."""
        early = self._due - time.monotonic()
        if early > 0 and (not self._waits or stop.wait(early)):
            return False
        self._due = max(self._due, time.monotonic() - self._period) + self._period
        return True


def main() -> None:
    """Run the node until the source ends or it is interrupted; exit code 1 with a sentence if it cannot."""
    answer_help(NAME, DESCRIPTION, PARAMETERS)
    with running(NAME, CameraSource) as (node, stop):
        try:
            node.play(stop)
        finally:
            node.close()


if __name__ == "__main__":
    main()
