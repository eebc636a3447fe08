"""OpenVINO: on CPUs the fastest."""

from __future__ import annotations

import sys
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfanet_ros.engines.apart import apart
from dfanet_ros.engines.cache import cached, fingerprint
from dfanet_ros.engines.onnx_model import CoarseLogits, exported, missing
from dfanet_ros.engines.torch import DTYPES, numpy_view
from dfanet_ros.network.base import Network
from dfanet_ros.network.inference import inference_form

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
LAYOUT = "NHWC"  # of the images, as OpenVINO computes on CPUs
BATCH = 1  # of what is compiled: for any batch it takes a third longer, as sizes are then worked out at each call


def objection(device: torch.device, precision: str) -> str:
    """Why this engine cannot be used; empty if it can."""
    if device.type != "cpu":
        return f"it is used on the CPU only, and the device is {device}"
    if absent := missing("openvino"):
        return absent
    if precision not in PRECISIONS:
        return f"it computes in {' or '.join(PRECISIONS)}, not in {precision}"
    try:
        openvino = _openvino()
    except Exception as error:  # it was built for another NumPy, say
        return f"it cannot be imported ({error})"
    if precision == "bf16" and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "this CPU has no bf16 arithmetic: use fp32"
    return ""


class Engine:
    """See `dfanet_ros.engines.Engine`. What OpenVINO has compiled is kept on disk.

    One frame is computed by all threads together. Of several, each is computed by one thread, as many at once as there
    are threads, which then need not wait for one another after each layer: 0.6 of the time on two cores.
    """

    def __init__(self, network: Network, input_size: tuple[int, int], device: torch.device, precision: str) -> None:
        openvino = _openvino()
        core = openvino.Core()
        self._dtype = DTYPES[precision]
        self._type = getattr(openvino.Type, PRECISIONS[precision])
        self._threads = torch.get_num_threads()  # see `build_engine`
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": self._threads,
        }

        processor = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
        images = LAYOUT, BATCH, PRECISIONS[precision]
        key = [fingerprint(network), input_size, images, openvino.get_version(), *processor, settings]
        compiled = cached("openvino", key, lambda: apart(_compiled, network, input_size, settings))
        self._one = core.import_model(BytesIO(compiled), "CPU", settings)
        self._several: Any = None  # made when the first batch of several frames comes
        self._import = lambda: core.import_model(BytesIO(compiled), "CPU", settings | {"NUM_STREAMS": self._threads})

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images to coarse logits."""
        given = [self._tensor(image) for image in images.to(self._dtype).split(BATCH)]
        if len(given) == 1:
            return torch.from_numpy(self._one(given[0], share_inputs=True)[0])
        return torch.from_numpy(self._each_in_one_thread(given))

    def close(self) -> None:
        """Give the memory back."""
        del self._one, self._several, self._import

    def _tensor(self, image: Tensor) -> Any:
        """OpenVINO's, in the same memory if the channels come last there."""
        array = numpy_view(image.permute(0, 2, 3, 1).contiguous())
        return _openvino().Tensor(array, array.shape, self._type)

    def _each_in_one_thread(self, images: list[Any]) -> NDArray[np.float32]:
        if self._several is None:
            network = self._import() if self._threads > 1 else self._one
            self._several = _openvino().AsyncInferQueue(network, self._threads)
        logits = np.empty((len(images), *self._one.output(0).shape[1:]), np.float32)

        def keep(request: Any, number: int) -> None:
            logits[number] = request.get_output_tensor(0).data[0]

        self._several.set_callback(keep)
        for number, image in enumerate(images):
            self._several.start_async(image, number, share_inputs=True)
        self._several.wait_all()
        return logits


def _openvino() -> ModuleType:
    """The package, without its reports to Intel of each conversion.

    They leave the robot, and come from forked copies of the node: Fast DDS then sometimes never found other nodes.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if it were not installed
    import openvino

    return openvino


def _compiled(network: Network, input_size: tuple[int, int], settings: dict[str, Any]) -> bytes:
    """What OpenVINO makes of the network in its form for inference."""
    openvino = _openvino()
    model = openvino.convert_model(exported(CoarseLogits(inference_form(network)), input_size))
    model.reshape([BATCH, 3, *input_size])
    images = openvino.preprocess.PrePostProcessor(model)
    images.input().model().set_layout(openvino.Layout("NCHW"))
    images.input().tensor().set_layout(openvino.Layout(LAYOUT))
    images.input().tensor().set_element_type(getattr(openvino.Type, settings["INFERENCE_PRECISION_HINT"]))
    return bytes(openvino.Core().compile_model(images.build(), "CPU", settings).export_model().getvalue())
