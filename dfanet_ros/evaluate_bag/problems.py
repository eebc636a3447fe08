"""What could not be used, counted and named."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_NAMED = 20


@dataclass
class Problems:
    """Things of a kind that could not be used.

    Attributes:
        kind: of the things, in the plural.
        count: how many there were.
        named: the first of them, each with the reason.
    """

    kind: str
    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, name: str, reason: str) -> None:
        """One more."""
        self.count += 1
        if len(self.named) < MOST_NAMED:
            self.named.append(f"{name}: {reason}")

    def __str__(self) -> str:
        more = f"; and {self.count - len(self.named)} more" if self.count > len(self.named) else ""
        return f"{self.count} {self.kind} could not be used: {'; '.join(self.named)}{more}"
