"""Play a bag through the segmentation node and compare the masks with the bag's labels, e.g.:

ros2 launch dfanet_ros evaluate.launch.py bag:=drive label_topic:=/camera/label weights:=camvid out:=metrics.json

ends with the bag, and the last lines have the mean IoU. All arguments of segmentation.launch.py but image_topics and
use_sim_time can be given, too. Without launch: python -m dfanet_ros.evaluate_live.
"""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    SetLaunchConfiguration,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events import Shutdown
from launch.events.process import ProcessExited, ProcessIO
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from dfanet_ros.parameters import RELIABILITIES
from dfanet_ros.topics import output_namespace

READY = b"; images from "  # what the segmentation node logs when it has subscribed
UNREADY = b"cannot configure: "
LAST_WITHIN = 2.0  # seconds that the last mask has after the bag's end

ARGUMENTS = [
    DeclareLaunchArgument("bag", description="The bag's folder, or a file of it."),
    DeclareLaunchArgument("image_topic", default_value="/camera/image_raw", description="The bag's images."),
    DeclareLaunchArgument(
        "label_topic",
        default_value="/camera/label",
        description="Their labels: ids (mono8 or 8UC1, 255 is unlabelled) with exactly the images' stamps.",
    ),
    DeclareLaunchArgument(
        "label_reliability",
        default_value="reliable",
        description="Reliability of the subscriptions to labels and masks; best_effort if the labels were recorded so.",
        choices=list(RELIABILITIES),
    ),
    DeclareLaunchArgument("rate", default_value="1.0", description="Speed at which the bag is played; 1: as recorded."),
    DeclareLaunchArgument(
        "out", default_value="", description="File that all measures are written to, as JSON; empty: none."
    ),
]


def generate_launch_description() -> LaunchDescription:
    launch_file = PathJoinSubstitution([FindPackageShare("dfanet_ros"), "launch", "segmentation.launch.py"])
    return LaunchDescription(
        [
            *ARGUMENTS,
            OpaqueFunction(function=prepare),
            IncludeLaunchDescription(launch_file),  # here, not in a function, so that --show-args sees it
            OpaqueFunction(function=evaluation),
        ]
    )


def prepare(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The other launch file's arguments; the player when the nodes are ready; and the end of all when one has ended."""
    given = context.launch_configurations
    bag = Path(given["bag"]).expanduser()
    if not bag.exists():
        raise FileNotFoundError(f"bag is '{bag}', but there is no such file or folder")
    if given.get("log_level", "info") not in ("debug", "info"):
        raise ValueError(
            f"log_level is '{given['log_level']}', but the bag is played once the node logs that it is ready: give "
            "info or debug"
        )
    play = player(str(bag), given["rate"], [given["image_topic"], given["label_topic"]])
    started: list[LaunchDescriptionEntity] = []

    def play_when_ready(event: ProcessIO) -> list[LaunchDescriptionEntity]:
        if UNREADY in event.text:
            return [EmitEvent(event=Shutdown(reason="the segmentation node could not be configured"))]
        if READY in event.text and not started:
            started.append(play)
            return [play]
        return []

    def end(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        if context.is_shutdown:
            return []
        reason = f"{event.process_name} has ended"
        return [TimerAction(period=LAST_WITHIN, actions=[EmitEvent(event=Shutdown(reason=reason))])]

    return [
        RegisterEventHandler(OnProcessIO(on_stdout=play_when_ready, on_stderr=play_when_ready)),
        RegisterEventHandler(OnProcessExit(on_exit=end)),
        SetLaunchConfiguration("image_topics", f"[{given['image_topic']}]"),
        SetLaunchConfiguration("use_sim_time", "true"),
    ]


def evaluation(context: LaunchContext) -> list[Node]:
    """The node that compares the masks with the labels."""
    given = context.launch_configurations
    return [
        Node(
            package="dfanet_ros",
            executable="evaluation_node",
            parameters=[
                {
                    "mask_topic": f"{output_namespace(given['image_topic'])}/mask",
                    "label_topic": given["label_topic"],
                    "reliability": given["label_reliability"],
                    "out": ParameterValue(LaunchConfiguration("out"), value_type=str),
                    "use_sim_time": True,
                }
            ],
            output="screen",
        )
    ]


def player(bag: str, rate: str, topics: list[str]) -> LaunchDescriptionEntity:
    """What plays the bag: rosbag2 where it is installed, else this package's player."""
    if has_rosbag2():
        # The delay is for discovery, which rosbag2 does not wait for.
        command = ["ros2", "bag", "play", bag, "--clock", "100", "--rate", rate, "--delay", "2"]
        return ExecuteProcess(cmd=[*command, "--topics", *topics], output="screen")
    arguments = [bag, "--clock", "--rate", rate, "--wait", "30", "--delay", "3", "--topics", *topics]
    return Node(package="dfanet_ros", executable="play_bag", arguments=arguments, output="screen")


def has_rosbag2() -> bool:
    """Whether `ros2 bag` can be run."""
    try:
        get_package_prefix("ros2bag")
    except PackageNotFoundError:
        return False
    return True
