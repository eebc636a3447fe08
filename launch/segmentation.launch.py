"""Start the segmentation node; `ros2 launch dfanet_ros segmentation.launch.py --show-args` lists the arguments.

An argument that is given beats the params file, which beats the node's defaults: one that is not given is not passed
on. The node says what is wrong with a value.

config/fastdds.xml is used unless the user has chosen transports of Fast DDS. LARGE_DATA (see there) would carry large
images, too, but hide the node from all processes without it.
"""

import os
from pathlib import Path

import yaml
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    SetEnvironmentVariable,
    UnsetLaunchConfiguration,
)
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from dfanet_ros.parameters import BOOLEANS, OUTPUTS, PARAMETERS, Parameter
from dfanet_ros.topics import COMPRESSED, output_namespace

# Of Fast DDS 2 (Humble, Jazzy) and of what came after it, which warns of the old name.
PROFILES_FILE = (
    "FASTRTPS_DEFAULT_PROFILES_FILE"
    if os.environ.get("ROS_DISTRO") in ("humble", "jazzy")
    else "FASTDDS_DEFAULT_PROFILES_FILE"
)
# By which a user chooses transports.
CHOICES = ("FASTDDS_BUILTIN_TRANSPORTS", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
SHOWN = "/camera/image_raw"  # by config/segmentation.rviz, with its results

OTHERS = [
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node."),
    DeclareLaunchArgument(
        "params_file", default_value="", description="YAML file with parameters, like the package's segmentation.yaml."
    ),
    DeclareLaunchArgument(
        "respawn",
        default_value="false",
        description="true: start the node again if it dies.",
        choices=BOOLEANS,
    ),
    DeclareLaunchArgument(
        "large_data",
        default_value="auto",
        description="true: Fast DDS gets the package's fastdds.xml, for large images (README, Large images); auto: "
        f"unless {', '.join(CHOICES[:-1])} or {CHOICES[-1]} is set.",
        choices=["auto", *BOOLEANS],
    ),
    DeclareLaunchArgument(
        "rviz",
        default_value="false",
        description="true: show the first camera in RViz, which has to be installed, and whose layout here wants "
        "output_reliability:=reliable.",
        choices=BOOLEANS,
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="false",
        description="true: take the time from /clock.",
        choices=BOOLEANS,
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        description="Least severe messages that are logged.",
        choices=["debug", "info", "warn", "error", "fatal"],
    ),
]


def generate_launch_description() -> LaunchDescription:
    given: set[str] = set()  # filled before the declarations, for these set what is not given to its default
    return LaunchDescription(
        [
            OpaqueFunction(function=lambda context: given.update(context.launch_configurations)),
            *[declare(parameter) for parameter in PARAMETERS],
            *OTHERS,
            OpaqueFunction(function=choose_transports),
            OpaqueFunction(function=start_node, args=[given]),
            OpaqueFunction(function=start_rviz, args=[given], condition=IfCondition(LaunchConfiguration("rviz"))),
            OpaqueFunction(function=forget_defaults, args=[given]),
        ]
    )


def declare(parameter: Parameter) -> DeclareLaunchArgument:
    """The launch argument of one of the node's parameters; choices are listed by launch itself."""
    default = parameter.default
    choices = list(parameter.choices) if isinstance(default, str) else []
    if isinstance(default, bool):
        choices = BOOLEANS
    return DeclareLaunchArgument(
        parameter.name,
        default_value=default if isinstance(default, str) else parameter.default_text,
        description=parameter.description if choices else f"{parameter.description} ({parameter.allowed})",
        choices=choices or None,
    )


def choose_transports(context: LaunchContext) -> list[SetEnvironmentVariable]:
    """What makes Fast DDS carry large images in all that is started here."""
    wanted = LaunchConfiguration("large_data").perform(context)
    if wanted in ("false", "False") or (wanted == "auto" and any(os.environ.get(name) for name in CHOICES)):
        return []
    profiles = PathJoinSubstitution([FindPackageShare("dfanet_ros"), "config", "fastdds.xml"])
    return [SetEnvironmentVariable(PROFILES_FILE, profiles)]


def start_node(context: LaunchContext, given: set[str]) -> list[Node]:
    """The node with the params file, if there is one, and the parameters that were given as arguments."""
    # None: the value is read as YAML; a text is not, for 123 would become a number.
    types: dict[str, type | None] = {
        parameter.name: str if isinstance(parameter.default, str) else None for parameter in PARAMETERS
    }
    types["use_sim_time"] = bool
    arguments = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in types.items()
        if name in given
    }
    file = os.path.expanduser(LaunchConfiguration("params_file").perform(context))
    if file and not Path(file).is_file():
        raise FileNotFoundError(f"params_file is '{file}', but there is no such file")
    return [
        Node(
            package="dfanet_ros",
            executable="segmentation_node",
            name="segmentation_node",
            namespace=LaunchConfiguration("namespace"),
            parameters=[*([file] if file else []), *([arguments] if arguments else [])],
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            respawn=LaunchConfiguration("respawn"),
            respawn_delay=2.0,
            output="screen",
        )
    ]


def start_rviz(context: LaunchContext, given: set[str]) -> list[Node]:
    """RViz with the topics of the first camera; those that only a params file names are not known here."""
    topics = yaml.safe_load(LaunchConfiguration("image_topics").perform(context))
    remappings = []
    if isinstance(topics, list) and topics and ("image_topics" in given or "params_file" not in given):
        namespace = LaunchConfiguration("namespace").perform(context).strip("/")
        topic = str(topics[0])
        if not topic.startswith("/"):
            topic = f"/{namespace}/{topic}" if namespace else f"/{topic}"
        pairs = {SHOWN: topic.removesuffix(COMPRESSED)}
        for output in OUTPUTS:
            pairs[f"{output_namespace(SHOWN)}/{output}"] = f"{output_namespace(topic)}/{output}"
        remappings = [*pairs.items()]
    config = PathJoinSubstitution([FindPackageShare("dfanet_ros"), "config", "segmentation.rviz"])
    return [Node(package="rviz2", executable="rviz2", arguments=["-d", config], remappings=remappings)]


def forget_defaults(context: LaunchContext, given: set[str]) -> list[UnsetLaunchConfiguration]:
    """Leave no default behind: to this file, included a second time, it would count as given."""
    declared = [*(parameter.name for parameter in PARAMETERS), *(argument.name for argument in OTHERS)]
    return [UnsetLaunchConfiguration(name) for name in declared if name not in given]
