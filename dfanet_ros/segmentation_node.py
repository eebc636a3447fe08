"""The ROS 2 node: camera images in; masks, colour masks and overlays out."""

from __future__ import annotations

import signal
import sys
import traceback
from collections import Counter
from functools import partial
from threading import Thread
from typing import Any

import rclpy
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from dfanet_ros.camera import Camera, output_namespace
from dfanet_ros.frame import Frame
from dfanet_ros.image_messages import BadImage, frame_from_message
from dfanet_ros.newest import Newest
from dfanet_ros.parameters import PARAMETERS, Parameter
from dfanet_ros.segmenter import load_segmenter

RELIABILITY = {"best_effort": ReliabilityPolicy.BEST_EFFORT, "reliable": ReliabilityPolicy.RELIABLE}
SILENCE_PERIOD = 5.0  # seconds between two looks for silent cameras


class SegmentationNode(Node):
    """Segments the newest frame of each camera, all cameras' frames in one batch.

    `work` converts, segments and publishes; the executor, in another thread, only stores the messages that arrive.

    Raises:
        ValueError: a parameter or the weights cannot be used; the sentence says why.
    """

    def __init__(self) -> None:
        super().__init__("segmentation_node")
        values = {parameter.name: self._declare(parameter) for parameter in PARAMETERS}
        # Resolved first: the results lie beside the images, wherever a namespace or a remap puts these.
        topics = [self._resolved(topic) for topic in values["image_topics"]]
        _refuse_clashes(topics)
        self.segmenter = load_segmenter(
            weights=values["weights"],
            network=values["network"],
            backbone=values["backbone"],
            input_size=(values["input_height"], values["input_width"]),
            device=values["device"],
            precision=values["precision"],
        )
        self.segmenter.warm_up(len(topics))
        self._opacity: float = values["overlay_opacity"]
        self.add_on_set_parameters_callback(self._on_parameters)

        self._newest: Newest[Image] = Newest()
        self.cameras = [
            Camera(
                self,
                topic,
                QoSProfile(depth=1, reliability=RELIABILITY[values["image_reliability"]]),
                QoSProfile(depth=1, reliability=RELIABILITY[values["output_reliability"]]),
                partial(self._on_image, number),
            )
            for number, topic in enumerate(topics)
        ]
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(SILENCE_PERIOD, self._report_silence, clock=steady)
        self.get_logger().info(f"{self.segmenter}; images from {', '.join(c.topic for c in self.cameras)}")

    def stop(self) -> None:
        """Let `work` end after its batch."""
        self._newest.close()

    def _declare(self, parameter: Parameter) -> Any:
        # Typed dynamically, so that a wrong type meets the same check and sentence as a wrong value.
        descriptor = ParameterDescriptor(
            description=parameter.description,
            additional_constraints=parameter.allowed,
            read_only=not parameter.live,
            dynamic_typing=True,
        )
        if isinstance(parameter.default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=parameter.minimum, to_value=parameter.maximum)
            ]
        elif isinstance(parameter.default, int):
            descriptor.integer_range = [IntegerRange(from_value=parameter.minimum, to_value=parameter.maximum)]
        try:
            value: Any = self.declare_parameter(parameter.name, parameter.default, descriptor).value
        except ParameterException as error:
            raise ValueError(f"parameter {parameter.name} has to be {parameter.allowed}: {error}") from error
        return parameter.checked(value)

    def _resolved(self, topic: str) -> str:
        try:
            return self.resolve_topic_name(topic)
        except RuntimeError as error:
            raise ValueError(f"parameter image_topics has '{topic}', which is no topic name: {error}") from error

    def _on_parameters(self, changes: list[RosParameter[Any]]) -> SetParametersResult:
        table = {parameter.name: parameter for parameter in PARAMETERS}
        try:
            values = {c.name: table[c.name].checked(c.value) for c in changes if c.name in table}
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._opacity = values.get("overlay_opacity", self._opacity)
        return SetParametersResult(successful=True)

    def _on_image(self, number: int, message: Image) -> None:
        camera = self.cameras[number]
        if not camera.wanted:
            camera.counters.unwanted += 1
        elif self._newest.put(number, message):
            camera.counters.superseded += 1

    def work(self) -> None:
        """Segment what arrives, until `stop`.

        To be called in the thread that made the node: PyTorch keeps a pool of OpenMP threads for each thread that it
        is used in, and with two pools on the same cores a network takes 1.6 times as long.
        """
        while messages := self._newest.take():
            frames = self._read(messages)
            try:
                self._segment(frames, messages)
            except Exception:  # the node has to outlive whatever a frame may cause
                for number in frames:
                    self.cameras[number].counters.failed += 1
                self.get_logger().error(f"a batch was dropped:\n{traceback.format_exc()}", throttle_duration_sec=5.0)

    def _read(self, messages: dict[int, Image]) -> dict[int, Frame]:
        frames: dict[int, Frame] = {}
        for number, message in messages.items():
            try:
                frames[number] = frame_from_message(message)
            except BadImage as error:
                self.cameras[number].refuse(message, error)
        return frames

    def _segment(self, frames: dict[int, Frame], messages: dict[int, Image]) -> None:
        results = self.segmenter.segment(list(frames.values()))
        for number, result in zip(frames, results, strict=True):
            self.cameras[number].publish(result, messages[number].header, self._opacity)

    def _report_silence(self) -> None:
        for camera in self.cameras:
            if sentence := camera.silence():
                self.get_logger().warning(sentence)


def _refuse_clashes(topics: list[str]) -> None:
    for namespace, count in Counter(map(output_namespace, topics)).items():
        if count > 1:
            raise ValueError(
                f"parameter image_topics gives {topics}, but {count} of these would publish to {namespace}/mask: "
                "the topics have to lie in different namespaces (/left/image_raw, /right/image_raw)"
            )


def main() -> None:
    """Run the node until it is interrupted; exit code 1 with a sentence if it cannot start."""
    try:
        # Not rclpy's handlers: they would end ROS in the middle of a batch, whose frames nobody would account for.
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = SegmentationNode()
    except (ValueError, RuntimeError) as error:  # RuntimeError: of rcl (arguments) and of CUDA
        rclpy.logging.get_logger("segmentation_node").fatal(str(error))
        sys.exit(1)
    for interrupt in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interrupt, lambda *_: node.stop())
    receiver = Thread(target=receive, args=(node,), name="receiver")
    receiver.start()
    node.work()
    for camera in node.cameras:
        node.get_logger().info(f"{camera.topic}: {camera.counters}")
    rclpy.shutdown()
    receiver.join()
    node.destroy_node()


def receive(node: SegmentationNode) -> None:
    """Let messages arrive until ROS is shut down, then stop the node."""
    try:
        rclpy.spin(node)
    except ExternalShutdownException:
        pass
    finally:
        node.stop()


if __name__ == "__main__":
    main()
