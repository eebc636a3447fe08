"""ONNX Runtime, on the CPU or, built for it, on CUDA."""

from __future__ import annotations

import torch
from torch import Tensor

from dfanet_ros.engines.onnx_model import INPUT, NEEDED, OUTPUT, coarse_model, missing
from dfanet_ros.engines.torch import DTYPES
from dfanet_ros.network.base import Network

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
PRECISIONS = {"cpu": ("fp32",), "cuda": ("fp32", "fp16")}


def objection(device: torch.device, precision: str) -> str:
    """Why this engine cannot be used; empty if it can."""
    if absent := missing("onnxruntime", *NEEDED):
        return absent
    try:
        import onnxruntime
    except Exception as error:  # it was built for another NumPy, say
        return f"it cannot be imported ({error})"
    if PROVIDERS[device.type] not in onnxruntime.get_available_providers():
        return f"the one that is installed is not built for {device.type} (pip install onnxruntime-gpu)"
    if precision not in PRECISIONS[device.type]:
        allowed = " or ".join(PRECISIONS[device.type])
        return f"on {device.type} it computes in {allowed}, not in {precision}"
    return ""


class Engine:
    """See `dfanet_ros.engines.Engine`. The ONNX model is kept on disk."""

    def __init__(self, network: Network, input_size: tuple[int, int], device: torch.device, precision: str) -> None:
        import onnxruntime

        self._device = device
        self._dtype = DTYPES[precision]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # see `build_engine`
        if device.type == "cuda" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA and cuDNN as PyTorch's wheels bring them
        choices = {"device_id": device.index or 0, "use_tf32": 0} if device.type == "cuda" else {}  # see `build_engine`
        provider = PROVIDERS[device.type], choices
        model = coarse_model(network, input_size, self._dtype)
        self._session = onnxruntime.InferenceSession(model, options, providers=[provider])
        if provider[0] not in self._session.get_providers():  # it only logs that, and takes the CPU
            raise ValueError(
                f"ONNX Runtime cannot load its {provider[0]} (its log says what is missing): choose another engine"
            )

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images to coarse logits."""
        if self._device.type == "cpu":
            return torch.from_numpy(self._session.run([OUTPUT], {INPUT: images.contiguous().numpy()})[0])
        return self._logits_on_device(images)

    def close(self) -> None:
        """Give the memory back."""
        del self._session

    def _logits_on_device(self, images: Tensor) -> Tensor:
        """The same without leaving the device: ONNX Runtime reads and writes PyTorch's memory."""
        import numpy as np

        images = images.to(self._dtype).contiguous()
        rows, columns = self._session.get_outputs()[0].shape[-2:]
        classes = self._session.get_outputs()[0].shape[1]
        logits = torch.empty(len(images), classes, rows, columns, dtype=self._dtype, device=self._device)
        kind = np.float16 if self._dtype == torch.float16 else np.float32
        index = self._device.index or 0
        binding = self._session.io_binding()
        binding.bind_input(INPUT, "cuda", index, kind, tuple(images.shape), images.data_ptr())
        binding.bind_output(OUTPUT, "cuda", index, kind, tuple(logits.shape), logits.data_ptr())
        torch.cuda.current_stream(self._device).synchronize()  # ONNX Runtime has a stream of its own
        self._session.run_with_iobinding(binding)  # returns when it is done
        return logits
