"""What a bag's metadata.yaml says of its files."""

from __future__ import annotations

from pathlib import Path, PurePath

from ruamel.yaml import YAML  # which rosbags brings
from ruamel.yaml.error import YAMLError

from dfanet_ros.bags import BagError

METADATA = "metadata.yaml"


def listed_files(folder: Path) -> list[Path]:
    """The files of the bag in this folder, in their order; whether they are there is not looked at.

    Raises:
        OSError: there is no metadata.yaml, or it cannot be opened.
        BagError: it is damaged; a sentence without its point.
    """
    try:
        content = YAML(typ="safe").load((folder / METADATA).read_text(encoding="utf-8"))
        names = content["rosbag2_bagfile_information"]["relative_file_paths"]
        return [folder / PurePath(name).name for name in names]  # of old versions, with the folder's former path
    except (YAMLError, ValueError, KeyError, TypeError) as error:
        raise BagError(f"its {METADATA} does not say which files it has ({' '.join(str(error).split())})") from error
