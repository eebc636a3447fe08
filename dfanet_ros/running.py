"""What the smaller nodes have in common: parameters from a table, and a clean end at Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, TypeVar

import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from dfanet_ros.interruption import taking_down
from dfanet_ros.parameters import Parameter

AnyNode = TypeVar("AnyNode", bound=Node)


def declare(node: Node, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Declare parameters that are fixed once the node runs; gives their values by name.

    Raises:
        ValueError: a value is not allowed; the sentence says what is.
    """
    return {parameter.name: _declare(node, parameter) for parameter in parameters}


@contextmanager
def running(name: str, make: Callable[[], AnyNode]) -> Iterator[tuple[AnyNode, Event]]:
    """A node that receives in a thread of its own, and an event that Ctrl-C and SIGTERM set.

    Within `with`, the node can publish whatever happens: ROS is shut down afterwards. A ValueError, of `make` too, ends
    the process with exit code 1 and its sentence.
    """
    try:
        # Not rclpy's handlers: they would shut ROS down under the hands of whoever publishes.
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = make()
    except (ValueError, RuntimeError) as error:  # RuntimeError: of rcl (arguments)
        rclpy.logging.get_logger(name).fatal(str(error))
        sys.exit(1)
    stop = Event()

    def interrupt(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # the second one ends us at once
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    receiver = Thread(target=_receive, args=(node, executor), name="receiver")
    receiver.start()
    failed = False
    try:
        yield node, stop
    except ValueError as error:
        node.get_logger().fatal(str(error))
        failed = True
    finally:
        rclpy.try_shutdown()
        receiver.join()
        with taking_down():
            node.destroy_node()
    if failed:
        sys.exit(1)


def _receive(node: Node, executor: SingleThreadedExecutor) -> None:
    """Let messages arrive until ROS is shut down; what rclpy raises at messages that it does not expect is logged."""
    while rclpy.ok():
        try:
            executor.spin()
        except ExternalShutdownException:
            return
        except Exception:
            node.get_logger().error(f"a message was dropped:\n{traceback.format_exc()}", throttle_duration_sec=5.0)
            time.sleep(0.01)  # should it happen for ever, something is left of the processor


def _declare(node: Node, parameter: Parameter) -> Any:
    # Typed dynamically, so that a wrong type meets the same check and sentence as a wrong value.
    descriptor = ParameterDescriptor(
        description=parameter.description,
        additional_constraints=parameter.allowed,
        dynamic_typing=True,
        read_only=True,
    )
    if isinstance(parameter.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=parameter.minimum, to_value=parameter.maximum)]
    elif type(parameter.default) is int:
        descriptor.integer_range = [IntegerRange(from_value=parameter.minimum, to_value=parameter.maximum)]
    try:
        value: Any = node.declare_parameter(parameter.name, parameter.default, descriptor).value
    except ParameterException as error:
        raise ValueError(f"parameter {parameter.name} has to be {parameter.allowed}: {error}") from error
    if isinstance(parameter.default, str) and type(value) is int:
        value = str(value)  # `-p source:=0`, which ROS reads as a number
    return parameter.checked(value)
