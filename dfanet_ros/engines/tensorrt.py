"""TensorRT, on NVIDIA's GPUs: fuses layers and chooses their kernels by measuring them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dfanet_ros.engines.cache import cached, fingerprint
from dfanet_ros.engines.onnx_model import INPUT, NEEDED, OUTPUT, coarse_model, missing
from dfanet_ros.engines.torch import DTYPES
from dfanet_ros.network.base import Network

MOST_IMAGES = 16  # in a batch; larger ones go in parts
WORKSPACE = 2**30  # bytes


def objection(device: torch.device, precision: str) -> str:
    """Why this engine cannot be used; empty if it can."""
    if device.type != "cuda":
        return f"it needs a CUDA device, and the device is {device}"
    return missing("tensorrt", *NEEDED)


class Engine:
    """See `dfanet_ros.engines.Engine`. The engine that TensorRT has built is kept on disk."""

    def __init__(self, network: Network, input_size: tuple[int, int], device: torch.device, precision: str) -> None:
        import tensorrt

        self._device = device
        self._dtype = DTYPES[precision]
        logger = tensorrt.Logger(tensorrt.Logger.WARNING)
        gpu = torch.cuda.get_device_properties(device)
        versions = [tensorrt.__version__, gpu.name, gpu.major, gpu.minor, MOST_IMAGES, "no TF32"]
        key = [fingerprint(network), self._dtype, input_size, *versions]
        with torch.cuda.device(device):
            plan = cached(
                "tensorrt", key, lambda: _built(coarse_model(network, input_size, self._dtype), input_size, logger)
            )
            self._engine = tensorrt.Runtime(logger).deserialize_cuda_engine(plan)
            self._context = self._engine.create_execution_context()
            self._stream = torch.cuda.Stream()  # in the default one, TensorRT would wait after each call

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images to coarse logits."""
        parts = [self._part(part) for part in images.to(self._dtype).contiguous().split(MOST_IMAGES)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def close(self) -> None:
        """Give the memory back."""
        del self._context, self._engine

    def _part(self, images: Tensor) -> Tensor:
        self._context.set_input_shape(INPUT, tuple(images.shape))
        shape = tuple(self._context.get_tensor_shape(OUTPUT))
        logits = torch.empty(shape, dtype=self._dtype, device=self._device)
        self._context.set_tensor_address(INPUT, images.data_ptr())
        self._context.set_tensor_address(OUTPUT, logits.data_ptr())
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)
            launched = self._context.execute_async_v3(self._stream.cuda_stream)
            current.wait_stream(self._stream)
        if not launched:
            raise RuntimeError(f"TensorRT could not run the network on {len(images)} images")
        return logits


def _built(model: bytes, input_size: tuple[int, int], logger: Any) -> bytes:
    """TensorRT's engine of an ONNX model, in the precision of the model."""
    import tensorrt

    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(model):
        errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise RuntimeError(f"TensorRT cannot read the ONNX model: {errors}")
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *((batch, 3, *input_size) for batch in (1, 1, MOST_IMAGES)))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.add_optimization_profile(profile)
    config.clear_flag(tensorrt.BuilderFlag.TF32)  # see `build_engine`
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("TensorRT could not build an engine: its log says why")
    return bytes(plan)
