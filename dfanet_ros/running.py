"""What the nodes have in common: parameters from a table, and a clean end at Ctrl-C and SIGTERM."""

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

SIGNALS = signal.SIGINT, signal.SIGTERM  # that end a node

AnyNode = TypeVar("AnyNode", bound=Node)


def declare(node: Node, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Declare parameters that are fixed once the node runs; gives their values by name.

    Raises:
        ValueError: a value is not allowed; the sentence says what is.
    """
    values = {}
    for parameter in parameters:
        value = declared(node, parameter, read_only=True)
        if isinstance(parameter.default, str) and type(value) is int:
            value = str(value)  # `-p source:=0`, which ROS reads as a number
        values[parameter.name] = parameter.checked(value)
    return values


def declared(node: Node, parameter: Parameter, read_only: bool) -> Any:
    """Declare a parameter; gives its value as it was set, unchecked but for the range of numbers.

    Raises:
        ValueError: ROS has refused the value; the sentence says what is allowed.
    """
    # Typed dynamically, so that a wrong type meets the same check and sentence as a wrong value.
    descriptor = ParameterDescriptor(
        description=parameter.description,
        additional_constraints=parameter.allowed,
        dynamic_typing=True,
        read_only=read_only,
    )
    if isinstance(parameter.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=parameter.minimum, to_value=parameter.maximum)]
    elif type(parameter.default) is int:
        descriptor.integer_range = [IntegerRange(from_value=parameter.minimum, to_value=parameter.maximum)]
    try:
        return node.declare_parameter(parameter.name, parameter.default, descriptor).value
    except ParameterException as error:
        raise ValueError(f"parameter {parameter.name} has to be {parameter.allowed}: {error}") from error


def resolved(node: Node, parameter: str, topic: str) -> str:
    """The topic that a parameter names, with namespace and remaps.

    Raises:
        ValueError: it cannot be one, or is remapped twice; the sentence says what to do.
    """
    try:
        name = node.resolve_topic_name(topic)
        again = node.resolve_topic_name(name)
    except RuntimeError as error:
        raise ValueError(f"parameter {parameter} has '{topic}', which is not a topic name: {error}") from error
    if again != name:  # subscribing resolves it once more
        raise ValueError(
            f"parameter {parameter} has '{topic}', which is remapped to {name} and that one to {again}: name the topic "
            "that is meant, and leave out the remaps"
        )
    return name


def made(name: str, make: Callable[[], AnyNode]) -> AnyNode:
    """Initialise ROS and make a node; what is wrong with its arguments or parameters ends the process with exit code 1.

    Without rclpy's signal handlers: they would shut ROS down under the hands of whoever publishes.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a process inherits what its parent has blocked
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        return make()
    except (ValueError, RuntimeError) as error:  # RuntimeError: of rcl (arguments)
        rclpy.logging.get_logger(name).fatal(str(error))
        sys.exit(1)


def interruption() -> Event:
    """An event that Ctrl-C and SIGTERM set, once; the second one ends the process at once."""
    stop = Event()

    def interrupt(*_: object) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in SIGNALS:
        signal.signal(number, interrupt)
    return stop


def receiving(node: Node, executor: SingleThreadedExecutor, stop: Event) -> Thread:
    """Start a thread in which messages arrive until ROS is shut down, by us or from outside; it then sets `stop`."""
    executor.add_node(node)
    receiver = Thread(target=_receive, args=(node, executor, stop), name="receiver")
    receiver.start()
    return receiver


def _receive(node: Node, executor: SingleThreadedExecutor, stop: Event) -> None:
    """See `receiving`.

    rclpy raises errors of its own at messages that it does not expect (a time before 0 on /clock, a parameter of an
    unknown type): they are logged, and the node goes on.
    """
    try:
        while rclpy.ok():
            try:
                executor.spin()
            except ExternalShutdownException:
                break
            except Exception:
                node.get_logger().error(f"a message was dropped:\n{traceback.format_exc()}", throttle_duration_sec=5.0)
                _release(node)
                time.sleep(0.01)  # should it happen for ever, something is left of the processor
    finally:
        stop.set()


def _release(node: Node) -> None:
    """Let the executor wait for everything again.

    What rclpy is about to take is marked, and so is its callback group, in which nothing else may run meanwhile. Where
    taking it fails, both stay so, and the node would be deaf for ever.
    """
    entities: list[Any] = [*node.subscriptions, *node.timers, *node.services, *node.clients, *node.guards]
    for entity in (*entities, *node.waitables):
        entity._executor_event = False
        group = entity.callback_group
        if getattr(group, "_active_entity", None) is entity:
            group.ending_execution(entity)


@contextmanager
def running(name: str, make: Callable[[], AnyNode]) -> Iterator[tuple[AnyNode, Event]]:
    """A node that receives in a thread of its own, and an event that Ctrl-C and SIGTERM set.

    Within `with`, the node can publish whatever happens: ROS is shut down afterwards. A ValueError, of `make` too, ends
    the process with exit code 1 and its sentence.
    """
    node = made(name, make)
    stop = interruption()
    receiver = receiving(node, SingleThreadedExecutor(), stop)
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
