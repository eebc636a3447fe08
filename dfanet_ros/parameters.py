"""The node's parameters: one table that node, launch files, YAML files and README agree with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

# Repeated here, and held equal by a test, so that launch files read the table without loading PyTorch.
NETWORKS = (
    "dfanet",
    "fast_scnn",
    "deeplabv3",
    "dfanet_without_attention",
    "dfanet_quarter_scale",
    "backbone",
    "backbone_x2",
    "backbone_x3",
    "backbone_x4",
    "backbone_x3_hl",
    "backbone_aspp",
)
BACKBONES = ("xception_a", "xception_b", "resnet18", "resnet50", "resnet101")
ENGINES = ("torch", "cuda_graph", "onnxruntime", "openvino", "tensorrt")
Value = str | bool | int | float | list[str]

OUTPUTS = ("mask", "color_mask", "overlay", "confidence")
RELIABILITIES = ("best_effort", "reliable")
TRANSPORTS = ("auto", "raw", "compressed")
BOOLEANS = ["true", "false", "True", "False"]  # of launch arguments; the latter are what launch files in Python say


@dataclass(frozen=True)
class Parameter:
    """One parameter; its type is that of the default.

    Attributes:
        choices: the allowed texts; empty where any text goes.
        minimum: smallest allowed number; None where the value is no number.
        maximum: largest allowed number.
        live: whether it may change at any time; the others may while the node is unconfigured.
        optional: whether a list may be empty; ROS files have no empty lists, hence [''] is one, too.
    """

    name: str
    default: Value
    description: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    live: bool = False
    optional: bool = False

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, list):
            of = f" out of {', '.join(self.choices)}" if self.choices else ""
            return f"a list of strings{of}, {'which may be empty' if self.optional else 'at least one'}"
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.minimum is not None:
            kind = "a number" if isinstance(self.default, float) else "a whole number"
            return f"{kind} from {self.minimum:g} to {self.maximum:g}"
        return "a string"

    @property
    def default_text(self) -> str:
        """The default in YAML, on one line."""
        return yaml.safe_dump(self.default, default_flow_style=True).partition("\n")[0]

    def checked(self, value: Any) -> Any:
        """The value in the parameter's type (a whole number may stand for a real one).

        Raises:
            ValueError: it is not allowed; the sentence says what was given and what is.
        """
        if isinstance(self.default, float) and type(value) is int:
            value = float(value)
        if isinstance(self.default, list):
            fits, value = self._checked_list(value)
        else:
            fits = type(value) is type(self.default)
            if fits and self.choices:
                fits = value in self.choices
            if fits and self.minimum is not None and self.maximum is not None:
                fits = self.minimum <= value <= self.maximum
        if not fits:
            given = "empty" if value is None else repr(value)
            raise ValueError(f"parameter {self.name} is {given}, but has to be {self.allowed}")
        return value

    def _checked_list(self, value: Any) -> tuple[bool, Any]:
        """Whether it is allowed, and the list."""
        if self.optional and value in (None, [""], ("",)):
            value = []
        if not isinstance(value, (list, tuple)):
            return False, value
        value = list(value)
        entries = all(isinstance(entry, str) and entry for entry in value)
        chosen = not self.choices or all(entry in self.choices for entry in value)
        return entries and chosen and (self.optional or len(value) > 0), value


PARAMETERS: tuple[Parameter, ...] = (
    Parameter("image_topics", ["image_raw"], "Image topics to segment, one for each camera."),
    Parameter("network", "auto", "Network; auto: that of the weights, else dfanet.", choices=("auto", *NETWORKS)),
    Parameter(
        "backbone",
        "auto",
        "Backbone of the network; auto: that of the weights, else the network's first (fast_scnn has none to choose).",
        choices=("auto", *BACKBONES),
    ),
    Parameter(
        "weights",
        "",
        "A .safetensors file or the name of shipped weights (camvid, camvid_b, street_scenes); "
        "empty: the shipped ones of this network and backbone.",
    ),
    Parameter(
        "input_height",
        0,
        "Height in pixels that frames are resized to for the network; 0: the height that the weights were trained at.",
        minimum=0,
        maximum=8192,
    ),
    Parameter(
        "input_width",
        0,
        "Width in pixels that frames are resized to for the network; 0: the width that the weights were trained at.",
        minimum=0,
        maximum=8192,
    ),
    Parameter(
        "device", "auto", "Where the network runs: cpu, cuda, cuda:1, ...; auto: CUDA where there is one, else the CPU."
    ),
    Parameter(
        "precision",
        "auto",
        "Arithmetic of the network; auto: fp16 on CUDA, fp32 on the CPU (which has no fp16).",
        choices=("auto", "fp32", "fp16", "bf16"),
    ),
    Parameter(
        "engine",
        "auto",
        "What runs the network; auto: the fastest that is installed.",
        choices=("auto", *ENGINES),
    ),
    Parameter(
        "threads",
        0,
        "Threads that the network is computed with on the CPU; 0: as many as there are cores, for engine torch one "
        "less.",
        minimum=0,
        maximum=1024,
    ),
    Parameter(
        "batch_wait",
        0.0,
        "Longest time in seconds that the first frame of a batch waits for those of the other cameras.",
        minimum=0.0,
        maximum=1.0,
        live=True,
    ),
    Parameter(
        "max_rate",
        0.0,
        "Most frames a second that are segmented of each camera; 0: no limit.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
    ),
    Parameter(
        "outputs",
        list(OUTPUTS),
        "What is published, each raw and, under /compressed, as PNG (overlays as JPEG).",
        choices=OUTPUTS,
        live=True,
    ),
    Parameter(
        "class_filter",
        [""],
        "Classes that are shown, by name; the others are unlabelled (255) in all outputs; empty: all are shown.",
        live=True,
        optional=True,
    ),
    Parameter(
        "class_colors",
        [""],
        "Colours of classes, like road=#804080, in place of those of the weights.",
        live=True,
        optional=True,
    ),
    Parameter(
        "overlay_opacity",
        0.5,
        "How much of the overlay is class colour: 0 shows the frame only, 1 the colours only.",
        minimum=0.0,
        maximum=1.0,
        live=True,
    ),
    Parameter(
        "jpeg_quality",
        90,
        "Quality of the compressed overlays.",
        minimum=1,
        maximum=100,
        live=True,
    ),
    Parameter(
        "image_transport",
        "auto",
        "What the image topics carry: raw images or compressed ones (on the topic's /compressed); "
        "auto: compressed where the topic ends with /compressed.",
        choices=TRANSPORTS,
    ),
    Parameter(
        "image_reliability",
        "best_effort",
        "Reliability of the image subscriptions; best_effort receives from every kind of camera driver.",
        choices=RELIABILITIES,
    ),
    Parameter(
        "output_reliability",
        "reliable",
        "Reliability of the publishers; reliable serves every kind of subscriber.",
        choices=RELIABILITIES,
    ),
    Parameter(
        "autostart",
        True,
        "Become active at start; false: wait for the lifecycle transitions configure and activate.",
    ),
    Parameter(
        "latency_warn",
        0.5,
        "Latency (p99) in seconds over which /diagnostics warns.",
        minimum=0.0,
        maximum=3600.0,
        live=True,
    ),
    Parameter(
        "latency_error",
        2.0,
        "Latency (p99) in seconds over which /diagnostics reports an error.",
        minimum=0.0,
        maximum=3600.0,
        live=True,
    ),
    Parameter(
        "rate_warn",
        0.0,
        "Results a second of a camera under which /diagnostics warns; 0: never.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
    ),
    Parameter(
        "silence_warn",
        2.0,
        "Seconds without a frame of a camera after which /diagnostics warns.",
        minimum=0.1,
        maximum=3600.0,
        live=True,
    ),
    Parameter(
        "silence_error",
        10.0,
        "Seconds without a frame of a camera after which /diagnostics reports an error.",
        minimum=0.1,
        maximum=3600.0,
        live=True,
    ),
)
