"""The ROS 2 node: camera images in; masks, colour masks, overlays and confidences out."""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from socket import gethostname
from threading import Lock
from typing import Any

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from dfanet_ros.camera import SILENCE, AnyImage, Camera
from dfanet_ros.diagnostics import NetworkFacts, Thresholds, camera_status, network_status
from dfanet_ros.engines.apart import interrupt
from dfanet_ros.frame import Frame
from dfanet_ros.image_messages import stamp_of
from dfanet_ros.interruption import taking_down
from dfanet_ros.label_set import LabelSet
from dfanet_ros.newest import Newest
from dfanet_ros.node_help import answer_help
from dfanet_ros.outputs import Outputs, Seldom
from dfanet_ros.parameters import PARAMETERS
from dfanet_ros.qos import RELIABILITY
from dfanet_ros.running import declared, interruption, made, receiving, resolved
from dfanet_ros.segmenter import Segmentation, Segmenter, find_weights, load_segmenter
from dfanet_ros.style import Style
from dfanet_ros.topics import output_namespace, refuse_clashes

DIAGNOSTICS_PERIOD = 1.0  # seconds, as usual for /diagnostics
DESCRIPTION = (
    "Segments the images of one or several cameras: masks, colour masks, overlays and confidences are published under "
    "<camera>/segmentation."
)
TABLE = {parameter.name: parameter for parameter in PARAMETERS}


class SegmentationNode(LifecycleNode):
    """Segments the newest frame of each camera, all cameras' frames in one batch.

    Three threads, so that the slowest of their stages bounds the rate and not their sum: the executor's thread
    receives, the worker segments, and the publisher draws, compresses and publishes what the worker had before. Of
    PyTorch's OpenMP threads, of which each of ours would have a pool, only the worker has more than one: with two pools
    on the same cores a network takes 1.6 times as long.

    Raises:
        ValueError: a parameter has a value that is not allowed; the sentence says what is.
    """

    def __init__(self) -> None:
        super().__init__("segmentation_node")
        self.values = {each.name: each.checked(declared(self, each, read_only=False)) for each in PARAMETERS}
        self.add_on_set_parameters_callback(self._on_parameters)
        self.cameras: list[Camera] = []
        self._segmenter: Segmenter | None = None
        self._weights = ""  # the file that the segmenter came from
        self._style: Style | None = None
        self._finalized = False
        self._newest: Newest[AnyImage] = Newest()
        self._worker = ThreadPoolExecutor(1, "worker")
        self._publisher = ThreadPoolExecutor(1, "publisher", torch.set_num_threads, (1,))
        self._publishing: Future[None] | None = None  # the batch before the one that is segmented
        self._failed = Lock()
        self._events = Seldom()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._diagnosed = self.get_clock().now()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(SILENCE, self._report_silence, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)

    def start(self) -> None:
        """Configure and activate."""
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()
        else:
            name = self.get_fully_qualified_name()
            self.get_logger().error(
                f"the node stays unconfigured: set what is wrong (ros2 param set {name} ...), then "
                f"ros2 lifecycle set {name} configure"
            )

    def end(self) -> None:
        """Segment what has come, then free everything."""
        self._shut_down()
        self._worker.shutdown()
        self._publisher.shutdown()

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the weights, run the network once and make the publishers; an error leaves the node unconfigured."""
        return self._attempt("configure", self._configure, undo=self._clean_up)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the images; an error leaves the node inactive."""
        return self._attempt("activate", self._subscribe, undo=self._unsubscribe)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take the subscriptions back; frames that have come are still segmented."""
        return self._attempt("deactivate", self._unsubscribe)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the network's memory and take the publishers back."""
        return self._attempt("cleanup", self._clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """All of this, from any state."""
        result = self._attempt("shutdown", self._shut_down)
        self._finalized = result == TransitionCallbackReturn.SUCCESS
        return result

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Become unconfigured, whatever is left, so that `configure` can be tried again."""
        for step in (*(camera.unsubscribe for camera in self.cameras), self._unsubscribe, self._clean_up):
            self._attempt("recover", step)
        return TransitionCallbackReturn.SUCCESS

    def _attempt(
        self, name: str, action: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        """Do the action; an error in it is logged with its cause, for rclpy would swallow it.

        Where it can be undone, the transition has failed, and the node is in the state before. Else nobody knows what
        is left: ERROR makes rclpy call `on_error`, and the node becomes unconfigured.
        """
        try:
            action()
        except Exception as error:
            cause = str(error) if isinstance(error, ValueError) else traceback.format_exc()
            self.get_logger().error(f"cannot {name}: {cause}")
            if undo is not None and self._attempt("recover", undo) == TransitionCallbackReturn.SUCCESS:
                return TransitionCallbackReturn.FAILURE
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        values = self.values
        # Resolved first: the results lie beside the images, wherever a namespace or a remap puts these.
        topics = [resolved(self, "image_topics", topic) for topic in values["image_topics"]]
        refuse_clashes(topics)
        self._segmenter = self._worker.submit(self._load, len(topics)).result()
        self._style = self._styled(values)
        for number, topic in enumerate(topics):
            outputs = Outputs(
                self,
                output_namespace(topic),
                QoSProfile(depth=1, reliability=RELIABILITY[values["output_reliability"]]),
                self._events,
            )
            qos = QoSProfile(depth=1, reliability=RELIABILITY[values["image_reliability"]])
            on_image = partial(self._on_image, number)
            self.cameras.append(Camera(self, topic, values["image_transport"], qos, outputs, on_image))
        self._apply_live(values)

    def _load(self, batch: int) -> Segmenter:
        values = self.values
        self._weights = str(find_weights(values["weights"], values["network"], values["backbone"]))
        segmenter = load_segmenter(
            weights=values["weights"],
            network=values["network"],
            backbone=values["backbone"],
            input_size=(values["input_height"], values["input_width"]),
            device=values["device"],
            precision=values["precision"],
            engine=values["engine"],
            threads=values["threads"],
        )
        segmenter.warm_up(batch)
        return segmenter

    def _subscribe(self) -> None:
        for camera in self.cameras:
            camera.subscribe()
        self.get_logger().info(f"{self._segmenter}; images from {', '.join(c.topic for c in self.cameras)}")

    def _unsubscribe(self) -> None:
        for camera in self.cameras:
            camera.unsubscribe()
        self._worker.submit(self._segment_newest).result()  # what has come is not lost
        self._publisher.submit(lambda: None).result()  # nor is what has been segmented

    def _clean_up(self) -> None:
        # Forgotten first: should something fail here, the next try does not meet it again.
        cameras, segmenter = self.cameras, self._segmenter
        self.cameras, self._segmenter, self._style = [], None, None
        for camera in cameras:
            camera.outputs.destroy()
            self.get_logger().info(f"{camera.topic}: {camera.counters}")
        if segmenter is not None:
            self._worker.submit(segmenter.close).result()

    def _shut_down(self) -> None:
        self._unsubscribe()
        self._clean_up()

    # Parameters

    def _on_parameters(self, changes: list[RosParameter[Any]]) -> SetParametersResult:
        try:
            for change in changes:
                if change.name in TABLE and change.type_ == RosParameter.Type.NOT_SET:
                    default = TABLE[change.name].default_text
                    raise ValueError(f"parameter {change.name} cannot be deleted: set it, to {default}, say")
            changed = {c.name: TABLE[c.name].checked(c.value) for c in changes if c.name in TABLE}
            if not changed:  # of rclpy's own: it declares those of `qos_overrides` while publishers are made
                return SetParametersResult(successful=True)
            for name, value in changed.items():
                if self._segmenter is not None and not TABLE[name].live and value != self.values[name]:
                    raise ValueError(
                        f"parameter {name} may change only while the node is unconfigured: clean it up first"
                    )
            values = self.values | changed
            style = self._styled(values)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.values, self._style = values, style
        self._apply_live(values)
        return SetParametersResult(successful=True)

    def _styled(self, values: dict[str, Any]) -> Style | None:
        """Colours and class filter; None while there are no classes. Raises ValueError if a class is unknown."""
        if self._segmenter is None:
            return None
        labels = self._labels(values)
        names = values["class_filter"]
        return Style.of(labels, labels.ids_of(names) if names else None)

    def _labels(self, values: dict[str, Any]) -> LabelSet:
        assert self._segmenter is not None
        return self._segmenter.info.labels.with_colors(values["class_colors"])

    def _apply_live(self, values: dict[str, Any]) -> None:
        for camera in self.cameras:
            camera.max_rate = values["max_rate"]
        # In the thread that publishes: no publisher vanishes under its hands.
        self._publisher.submit(self._change_outputs, values).result()

    def _change_outputs(self, values: dict[str, Any]) -> None:
        for camera in self.cameras:
            camera.outputs.choose(values["outputs"])
            camera.outputs.describe(self._labels(values))

    # Images

    def _on_image(self, number: int, message: AnyImage) -> None:
        self._events.open = False  # until the diagnostics, once a second, open it
        if self._newest.put(number, message):
            self.cameras[number].counters.superseded += 1
        self._worker.submit(self._segment_newest)

    def _segment_newest(self) -> None:
        expected = sum(camera.expected for camera in self.cameras)
        messages = self._newest.take(expected, self.values["batch_wait"])
        if not messages:
            return  # the job of an earlier one has taken them
        assert self._segmenter is not None
        frames: dict[int, Frame] = {}
        for number, message in messages.items():
            with self._outliving(number):
                if (frame := self.cameras[number].frame(message)) is not None:
                    frames[number] = frame
        results: list[Segmentation] = []  # remains so if the batch fails
        with self._outliving(*frames):
            results = self._segmenter.segment([*frames.values()])
        publishing, self._publishing = self._publishing, None
        if publishing is not None:
            with self._outliving():
                publishing.result()  # nothing queues: at most one batch is published while the next is segmented
        headers = {number: messages[number].header for number in frames}
        self._publishing = self._publisher.submit(self._publish_batch, headers, results)

    def _publish_batch(self, headers: dict[int, Header], results: list[Segmentation]) -> None:
        for (number, header), result in zip(headers.items(), results, strict=False):
            with self._outliving(number):  # of one camera only: the others' results are published all the same
                self._publish(self.cameras[number], header, result)

    @contextmanager
    def _outliving(self, *numbers: int) -> Iterator[None]:
        """The node outlives whatever these cameras' frames may cause; they are counted as failed."""
        try:
            yield
        except Exception:
            with self._failed:  # the worker and the publisher count here
                for number in numbers:
                    self.cameras[number].counters.failed += 1
            self.get_logger().error(f"frames were dropped:\n{traceback.format_exc()}", throttle_duration_sec=5.0)

    def _publish(self, camera: Camera, header: Header, result: Segmentation) -> None:
        values, style = self.values, self._style
        styled = result if style is None else result.styled(style)
        camera.outputs.publish(styled, header, values["overlay_opacity"], values["jpeg_quality"], camera.info)
        camera.counters.published += 1
        stamp = stamp_of(header)
        latency = (self.get_clock().now().nanoseconds - stamp) / 1e9 if stamp else math.nan  # 0: not stamped at all
        camera.recorder.published(time.monotonic(), latency)

    # Reports

    def _report_silence(self) -> None:
        for camera in self.cameras:
            if camera.receives and camera.silence >= SILENCE:
                self.get_logger().warning(camera.describe_silence())

    def _publish_diagnostics(self) -> None:
        self._events.open = True
        now = self.get_clock().now()
        name, host, values = self.get_fully_qualified_name().lstrip("/"), gethostname(), self.values
        thresholds = Thresholds(**{field.name: values[field.name] for field in fields(Thresholds)})
        array = DiagnosticArray()
        array.header.stamp = now.to_msg()
        gone_back, self._diagnosed = now < self._diagnosed, now
        array.status = [network_status(name, host, self._lifecycle, self._facts())]
        for camera in self.cameras:
            if gone_back:  # simulated time has, as when a bag is played again: latencies across that are none
                camera.recorder.forget_results(time.monotonic())
            wanted, totals = camera.outputs.wanted, vars(camera.counters)
            measured = camera.recorder.measured(time.monotonic(), totals, wanted)
            array.status.append(
                camera_status(name, camera.topic, host, totals, measured, thresholds, wanted, camera.receives)
            )
        self._diagnostics.publish(array)

    @property
    def _lifecycle(self) -> str:
        if self._segmenter is None:
            return "finalized" if self._finalized else "unconfigured"
        return "active" if any(camera.receives for camera in self.cameras) else "inactive"

    def _facts(self) -> NetworkFacts | None:
        segmenter = self._segmenter
        if segmenter is None:
            return None
        return NetworkFacts(
            weights=self._weights,
            network=segmenter.info.system,
            classes=len(segmenter.info.labels),
            input_size=segmenter.input_size,
            device=str(segmenter.device),
            precision=segmenter.precision,
            engine=str(segmenter.engine),
            gpu_memory=segmenter.memory(),
        )


class RosLog(logging.Handler):
    """Brings what the package's modules without ROS log to the node's log."""

    def __init__(self, node: LifecycleNode) -> None:
        super().__init__()
        self._node = node

    def emit(self, record: logging.LogRecord) -> None:
        # rclpy refuses another severity from the same line.
        if record.levelno >= logging.WARNING:
            self._node.get_logger().warning(record.getMessage())
        else:
            self._node.get_logger().info(record.getMessage())


def main() -> None:
    """Run the node until it is interrupted; exit code 1 with a sentence if a parameter is wrong."""
    answer_help("segmentation_node", DESCRIPTION, PARAMETERS)
    node = made("segmentation_node", SegmentationNode)
    package_log = logging.getLogger("dfanet_ros")
    package_log.setLevel(logging.INFO)
    package_log.addHandler(RosLog(node))
    stop = interruption()
    executor = SingleThreadedExecutor()
    if node.values["autostart"]:
        executor.create_task(node.start)
    receiver = receiving(node, executor, stop)
    stop.wait()
    interrupt()
    # In the receiver's thread, which uses what is taken away.
    ended = executor.create_task(node.end)
    while receiver.is_alive() and not ended.done():
        receiver.join(0.01)
    rclpy.try_shutdown()
    receiver.join()
    with taking_down():
        node.destroy_node()


if __name__ == "__main__":
    main()
