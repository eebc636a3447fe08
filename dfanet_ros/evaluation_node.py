"""The node `evaluation_node`: compares the masks that are published with labels, while both run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from socket import gethostname
from threading import Lock

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, String
from std_srvs.srv import Trigger

from dfanet_ros.image_messages import BadImage, ids_from_message, stamp_of
from dfanet_ros.node_help import answer_help
from dfanet_ros.parameters import RELIABILITIES, Parameter
from dfanet_ros.qos import LATCHED, RELIABILITY
from dfanet_ros.report.measures import as_json, write_json
from dfanet_ros.running import declare, resolved, running
from dfanet_ros.stream_evaluation import Ids, StreamEvaluation, labels_from_json

NAME = "evaluation_node"
PERIOD = 1.0  # seconds between two publications
WARNING_PERIOD = 5.0  # seconds between two warnings about frames that cannot be compared
FAREWELL = Duration(seconds=1)  # that subscribers have to receive the last measures
DESCRIPTION = (
    "Compares the masks that are published with labels of the same stamps, and publishes the measures of all so far, "
    "every second."
)
PARAMETERS = (
    Parameter("mask_topic", "segmentation/mask", "Masks, as the segmentation node publishes them."),
    Parameter(
        "label_topic", "label", "Their labels: ids (mono8 or 8UC1, 255: unlabelled) with exactly the masks' stamps."
    ),
    Parameter("reliability", "reliable", "Reliability of both subscriptions.", choices=RELIABILITIES),
    Parameter("out", "", "File that all measures are written to at the end, as JSON; empty: none."),
)


class EvaluationNode(Node):
    """Publishes the measures of all frames so far, every second.

    Raises:
        ValueError: a parameter is wrong; the sentence says how.
    """

    def __init__(self) -> None:
        super().__init__(NAME)
        self.values = values = declare(self, PARAMETERS)
        self.evaluation = StreamEvaluation()
        self._lock = Lock()  # the end comes from another thread than the messages
        self._last_warning = -math.inf
        self._out = Path(values["out"]).expanduser() if values["out"] else None
        if self._out is not None and self._out.is_dir():
            raise ValueError(f"parameter out is '{self._out}', which is a folder: give a file, like metrics.json in it")
        qos = QoSProfile(depth=10, reliability=RELIABILITY[values["reliability"]])
        masks, labels = (resolved(self, name, values[name]) for name in ("mask_topic", "label_topic"))
        if masks == labels:
            raise ValueError(f"parameters mask_topic and label_topic are both {masks}: they have to differ")
        if self._out is not None:
            try:
                write_json(self._out, self.evaluation.values())  # now, for at the end all would be lost
            except OSError as error:
                raise ValueError(f"parameter out is '{self._out}', which cannot be written: {error}") from error
        self._topics = f"{masks} against {labels}"
        self.create_subscription(Image, masks, partial(self._receive, self.evaluation.add_mask, masks), qos)
        self.create_subscription(Image, labels, partial(self._receive, self.evaluation.add_truth, labels), qos)
        classes = f"{masks.rpartition('/')[0]}/label_info_json"
        self.create_subscription(String, classes, self._describe, LATCHED)
        self._miou = self.create_publisher(Float64, "evaluation/miou", LATCHED)
        self._metrics = self.create_publisher(String, "evaluation/metrics", LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_service(Trigger, "~/reset", self._reset)
        self.create_timer(PERIOD, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(f"comparing {self._topics}; classes from {classes}")

    def finish(self) -> None:
        """Publish the measures a last time, write them to the file, and say what they are.

        Raises:
            OSError: the file cannot be written.
        """
        self._publish()
        for publisher in (self._miou, self._metrics):
            publisher.wait_for_all_acked(FAREWELL)
        with self._lock:
            evaluation = self.evaluation
            if self._out is not None:
                write_json(self._out, evaluation.values())
                self.get_logger().info(f"the measures are in {self._out}")
            self.get_logger().info(f"mIoU: {evaluation.miou:.2f} ({evaluation})")

    def _receive(self, add: Callable[[int, Ids], str], topic: str, message: Image) -> None:
        try:
            ids = ids_from_message(message)
        except BadImage as error:
            with self._lock:
                self.evaluation.unreadable += 1
            self._warn(f"an image on {topic} cannot be read: {error}")
            return
        with self._lock:
            problem = add(stamp_of(message.header), ids)
        self._warn(problem)

    def _describe(self, message: String) -> None:
        try:
            labels = labels_from_json(message.data)
        except ValueError as error:
            self.get_logger().warning(str(error))
            return
        with self._lock:
            before = self.evaluation.labels
            problem = self.evaluation.describe(labels)
        if before is not None and before.names != labels.names:
            self.get_logger().warning("the classes are others now: what was compared before is forgotten")
        self._warn(problem)

    def _warn(self, problem: str) -> None:
        """Say what is wrong with a frame, but not of every one."""
        if problem and time.monotonic() - self._last_warning >= WARNING_PERIOD:
            self._last_warning = time.monotonic()
            self.get_logger().warning(f"a frame was not compared: {problem}")

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            response.message = f"forgot {self.evaluation.compared} frames"
            self.evaluation.reset()
        response.success = True
        return response

    def _publish(self) -> None:
        with self._lock:
            values, miou, status = self.evaluation.values(), self.evaluation.miou, self._status()
        self._miou.publish(Float64(data=miou))
        self._metrics.publish(String(data=as_json(values)))
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _status(self) -> DiagnosticStatus:
        evaluation = self.evaluation
        counts = evaluation.counts()
        level, message = DiagnosticStatus.OK, f"mIoU {evaluation.miou:.2f} % of {evaluation.compared} frames"
        if evaluation.labels is None:
            level, message = DiagnosticStatus.WARN, "waiting for the classes, which the segmentation node publishes"
        elif counts["refused"] or counts["unreadable"]:
            level, message = DiagnosticStatus.WARN, f"{message}; some could not be compared (see the log)"
        elif not evaluation.compared:
            level = DiagnosticStatus.WARN
            message = "no mask and label with the same stamp have come"
        return DiagnosticStatus(
            level=level,
            name=f"{self.get_fully_qualified_name().lstrip('/')}: {self._topics}",
            message=message,
            hardware_id=gethostname(),
            values=[KeyValue(key=key, value=str(count)) for key, count in counts.items()],
        )


def main() -> None:
    """Run the node until it is interrupted; exit code 1 with a sentence if a parameter is wrong."""
    answer_help(NAME, DESCRIPTION, PARAMETERS)
    with running(NAME, EvaluationNode) as (node, stop):
        stop.wait()
        try:
            node.finish()
        except OSError as error:
            raise ValueError(f"the measures cannot be written: {error}") from error


if __name__ == "__main__":
    main()
