"""Names of topics: where a camera's images come from and where their results go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

COMPRESSED = "/compressed"


def input_topic(topic: str, transport: str) -> tuple[str, bool]:
    """The topic to subscribe to, and whether it carries compressed images.

    Args:
        topic: as the user names it.
        transport: `raw`, `compressed`, or `auto`: by the topic's end, as image_transport names its topics.
    """
    ends = topic.endswith(COMPRESSED)
    if transport == "compressed" and not ends:
        return topic + COMPRESSED, True
    return topic, ends if transport == "auto" else transport == "compressed"


def camera_namespace(topic: str) -> str:
    """What a camera's topics have in common: `/camera/image_raw` and `/camera/image_raw/compressed` give `/camera`."""
    return topic.removesuffix(COMPRESSED).rpartition("/")[0]


def output_namespace(topic: str) -> str:
    """Where the results of an image topic go: `/camera/image_raw` gives `/camera/segmentation`."""
    return f"{camera_namespace(topic)}/segmentation"


def refuse_clashes(topics: Sequence[str]) -> None:
    """Raises ValueError if the results of several image topics would go to the same place."""
    for namespace, count in Counter(map(output_namespace, topics)).items():
        if count > 1:
            raise ValueError(
                f"parameter image_topics gives {[*topics]}, but {count} of these would publish to {namespace}/mask: "
                "the topics have to lie in different namespaces (/left/image_raw, /right/image_raw)"
            )
