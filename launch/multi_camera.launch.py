"""Segment several cameras in one node, as one batch, e.g.:

ros2 launch dfanet_ros multi_camera.launch.py cameras:="[front, left, right]"

subscribes to /front/image_raw, /left/image_raw and /right/image_raw. All arguments of segmentation.launch.py but
image_topics can be given, too.
"""

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetLaunchConfiguration,
    UnsetLaunchConfiguration,
)
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "cameras", default_value="[front, left, right]", description="Namespaces of the cameras."
            ),
            DeclareLaunchArgument(
                "image_name", default_value="image_raw", description="Name of the image topic in each of them."
            ),
            OpaqueFunction(function=choose_topics),
            IncludeLaunchDescription(
                PathJoinSubstitution([FindPackageShare("dfanet_ros"), "launch", "segmentation.launch.py"])
            ),
            UnsetLaunchConfiguration("image_topics"),  # else it would count as given if this file is included again
        ]
    )


def choose_topics(context: LaunchContext) -> list[SetLaunchConfiguration]:
    """The image topics of the cameras, for the other launch file."""
    if "image_topics" in context.launch_configurations:
        raise ValueError("image_topics is given, but here cameras and image_name say which topics these are")
    given = LaunchConfiguration("cameras").perform(context)
    cameras = yaml.safe_load(given)
    if not isinstance(cameras, list) or not cameras or not all(isinstance(camera, str) for camera in cameras):
        raise ValueError(f"cameras is '{given}', but has to be a list of namespaces, like [front, left]")
    name = LaunchConfiguration("image_name").perform(context)
    topics = ", ".join(f"{camera.rstrip('/')}/{name}" for camera in cameras)
    return [SetLaunchConfiguration("image_topics", f"[{topics}]")]
