"""An HTML page that needs no other file: its pictures are inside, and it loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dfanet_ros.label_set import Label
from dfanet_ros.writing import writing

TEMPLATE = "page.html"


@dataclass(frozen=True)
class Image:
    """A picture of the page.

    Attributes:
        png: the bytes of a PNG file.
        description: what it shows, for those who cannot see it.
        caption: shown below it, unless empty.
        width: in CSS pixels (1/96 inch) at full size; 0 takes the room that there is.
    """

    png: bytes
    description: str
    caption: str = ""
    width: int = 0

    @property
    def source(self) -> str:
        """The file as an address."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Table:
    """Rows of cells, each row as long as the header; an empty header is not shown.

    The first column is text, and so are those whose numbers (from 0) are in `words`; the others are numbers, which
    stand to the right.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int] = ()


@dataclass(frozen=True)
class Row:
    """Pictures side by side, where there is room for it, under one caption."""

    caption: str
    images: Sequence[Image]


@dataclass(frozen=True)
class Section:
    """A part of the page, in this order; all but the heading may be left out."""

    heading: str
    text: str = ""
    table: Table | None = None
    image: Image | None = None
    legend: Sequence[Label] = ()
    rows: Sequence[Row] = ()


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: of the page.
        text: what it is about, in a sentence or two.
        numbers: what matters most, at the top.
        sections: all else.
    """

    title: str
    text: str
    numbers: Table
    sections: Sequence[Section]


def render(page: Page) -> str:
    """The page as HTML; whatever it holds is text there, never markup."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(page=page)


def write_page(path: Path, page: Page) -> None:
    """Write the page as an HTML file; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path):
        path.write_text(render(page), encoding="utf-8")
