"""Show a webcam, a video, a folder of images or generated scenes with what the node makes of them, e.g.:

ros2 launch dfanet_ros demo.launch.py source:=0

in RViz where it is installed and there is a screen, else in a page that browsers on this machine can open. All
arguments of segmentation.launch.py but image_topics can be given, too.
"""

import os

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, SetLaunchConfiguration
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from dfanet_ros.parameters import BOOLEANS

SCENES = "street_scenes"
CAMERA = "/camera"
# Where one of these arguments is given, it may say what the weights are; else those that fit the source are taken.
NETWORK = {"weights", "network", "backbone", "params_file"}

ARGUMENTS = [
    DeclareLaunchArgument(
        "source",
        default_value=SCENES,
        description="A webcam (its number, or /dev/video0), a video file, a folder of images, or street_scenes, which "
        "are generated (and for which weights:=street_scenes is the default, unless there is a params_file).",
    ),
    DeclareLaunchArgument("rate", default_value="0.0", description="Frames a second; 0: the source's own."),
    DeclareLaunchArgument(
        "rviz",
        default_value="auto",
        description="Show everything in RViz; auto: where it is installed and there is a screen.",
        choices=["auto", *BOOLEANS],
    ),
    DeclareLaunchArgument(
        "live",
        default_value="auto",
        description="Serve a page that shows everything in a browser; auto: unless RViz does.",
        choices=["auto", *BOOLEANS],
    ),
    DeclareLaunchArgument(
        "host",
        default_value="127.0.0.1",
        description="Address that the page is served at; 0.0.0.0: to whoever reaches this machine, without a password.",
    ),
    DeclareLaunchArgument("port", default_value="8080", description="Port of the page."),
]


def generate_launch_description() -> LaunchDescription:
    """The segmentation node, whose launch file also chooses the transports for what comes after it; camera; page."""
    launch_file = PathJoinSubstitution([FindPackageShare("dfanet_ros"), "launch", "segmentation.launch.py"])
    return LaunchDescription(
        [
            *ARGUMENTS,
            OpaqueFunction(function=choose),
            IncludeLaunchDescription(launch_file),  # here, not in a function, so that --show-args sees it
            OpaqueFunction(function=start),
        ]
    )


def choose(context: LaunchContext) -> list[SetLaunchConfiguration]:
    """The arguments of the other launch file that follow from those of this one, and what `auto` stands for."""
    given = context.launch_configurations
    rviz, live = given["rviz"], given["live"]
    if rviz == "auto":
        rviz = "true" if has_rviz() else "false"
    if live == "auto":
        live = "false" if rviz in ("true", "True") else "true"
    chosen = {"image_topics": f"[{CAMERA}/image_raw]", "rviz": rviz, "live": live}
    if given["source"] == SCENES and not NETWORK & given.keys():
        chosen["weights"] = SCENES
    return [SetLaunchConfiguration(name, value) for name, value in chosen.items()]


def start(context: LaunchContext) -> list[Node]:
    """The camera and, if it is wanted, the page."""
    given = context.launch_configurations
    camera = Node(
        package="dfanet_ros",
        executable="camera_source",
        namespace=CAMERA,
        parameters=[
            {
                "source": ParameterValue(LaunchConfiguration("source"), value_type=str),
                "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
            }
        ],
        output="screen",
    )
    page = Node(
        package="dfanet_ros",
        executable="live_view",
        arguments=["--host", given["host"], "--port", given["port"]],
        output="screen",
    )
    return [camera, *([page] if given["live"] in ("true", "True") else [])]


def has_rviz() -> bool:
    """Whether RViz can be started here."""
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return False
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
