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

    A file that is not what was written is built again. Where nothing can be written, nothing is kept, and the log says
    so.

    Args:
        kind: what it is; the file's ending.
        key: all that the result depends on; compared by its text.
        build: makes it.
    """
    log = logging.getLogger(__name__)
    text = "\n".join(map(str, key))
    name = f"{sha256(text.encode()).hexdigest()[:40]}.{kind}"
    if content := _read(name):
        return content
    log.info(f"preparing the network for {kind}, once for these weights and this size: this can take a minute")
    built = build()
    try:
        _write(name, built)
        log.info(f"the network is prepared for {kind}, and kept in {folder()} for the next start")
    except (OSError, RuntimeError) as error:  # a disk that is full or read-only; a user without a home
        log.warning(
            f"what was prepared for {kind} cannot be kept, so that the next start takes as long ({error}): set "
            "XDG_CACHE_HOME to a folder that can be written to"
        )
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


def _read(name: str) -> bytes:
    """What was written under that name; nothing if there is no such file, or not all of it."""
    try:
        stored = (folder() / name).read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: no home
        return b""
    content = stored[DIGEST:]
    return content if sha256(content).digest() == stored[:DIGEST] else b""


def _write(name: str, content: bytes) -> None:
    """Write the file whole or not at all, and make room."""
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    # A name of its own: another node may be writing the same.
    with tempfile.NamedTemporaryFile(dir=place, suffix=".unfinished", delete=False) as file:
        try:
            file.write(sha256(content).digest() + content)
            file.close()
            os.replace(file.name, place / name)
        except OSError:
            os.unlink(file.name)
            raise
    files = sorted(place.iterdir(), key=lambda each: each.stat().st_mtime)
    for old in files[:-MOST_FILES]:
        old.unlink(missing_ok=True)
