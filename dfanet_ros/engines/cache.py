"""What an engine makes of a network, kept on disk: making it takes longer than all else at start."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import torch

import dfanet_ros.network
from dfanet_ros.network.base import Network

DIGEST = 32  # bytes of SHA-256, which stand before the content
MOST_FILES = 40  # some 300 MB; the oldest go


def folder() -> Path:
    """Where the files lie: `dfanet_ros` in $XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dfanet_ros"


def cached(kind: str, key: Iterable[object], build: Callable[[], bytes]) -> bytes:
    """What `build` gives, from disk if it has been built before from the same.

    A file that is not what was written is built again. Where nothing can be written, nothing is kept.

    Args:
        kind: what it is; the file's ending.
        key: all that the result depends on; compared by its text.
        build: makes it.
    """
    text = "\n".join(map(str, key))
    path = folder() / f"{sha256(text.encode()).hexdigest()[:40]}.{kind}"
    try:
        stored = path.read_bytes()
    except OSError:
        stored = b""
    if stored and sha256(stored[DIGEST:]).digest() == stored[:DIGEST]:
        return stored[DIGEST:]
    logging.getLogger(__name__).info(
        f"preparing the network for {kind}, once for these weights and this size: this takes up to half a minute; the "
        f"result is kept in {path.parent}"
    )
    built = build()
    _write(path, sha256(built).digest() + built)
    return built


def fingerprint(network: Network) -> str:
    """A text that changes with the network's weights, its structure and its code, and with PyTorch."""
    digest = sha256(f"{torch.__version__}\n{network}\n{network.options}\n".encode())
    for file in sorted(Path(dfanet_ros.network.__path__[0]).glob("*.py")):
        digest.update(file.read_bytes())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write the file whole or not at all, and make room."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: another node may be writing the same.
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".unfinished", delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
        files = sorted(path.parent.iterdir(), key=lambda each: each.stat().st_mtime)
        for old in files[:-MOST_FILES]:
            old.unlink(missing_ok=True)
    except OSError:
        pass  # a disk that is full or read-only: the next start takes as long as this one
