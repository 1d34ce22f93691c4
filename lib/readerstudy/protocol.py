"""What a panel's owner declared before its sheets were read: the margin and the primary endpoint."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

# Of non-inferiority, in accuracy: this study's choice, about two images of quiz 1.
MARGIN = 0.05
LARGEST_MARGIN = 0.2
ENDPOINTS = ("panel mean", "majority vote")
EXAMPLE = '{"declared": "2026-01-31", "margin": 0.05, "primary": "panel mean"}'


class ProtocolError(ValueError):
    """A declaration, or a margin, that cannot be used; the message says why and what to write."""


@dataclass(frozen=True)
class Protocol:
    """Margin of non-inferiority and primary endpoint, and the date on which they were declared, if they were.

    Attributes
    ----------
    margin : float
        In accuracy.
    primary : str
        What the machine is first of all compared with, one of `ENDPOINTS`.
    declared : str
        ISO date; empty when nothing was declared before the answers were given.
    late : str
        Why a date that was written down does not count; empty otherwise.
    """

    margin: float = MARGIN
    primary: str = ENDPOINTS[0]
    declared: str = ""
    late: str = ""


def check_margin(margin: float) -> float:
    """A margin that means something: above 0 and at most `LARGEST_MARGIN`, else `ProtocolError`."""
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin <= LARGEST_MARGIN:
        raise ProtocolError(f"margin: {margin!r} is no difference in accuracy above 0 and at most {LARGEST_MARGIN:g}")
    return float(margin)


def read_protocol(panel: str | Path = "", margin: float = 0.0) -> Protocol:
    """The protocol of a panel: as declared in its folder's ``protocol.json``, else this study's own.

    A date counts as a declaration when no answer sheet beside it was saved on an earlier day. (Copies are younger than
    their answers: of those, only the history of version control tells when they were given.)

    Parameters
    ----------
    panel : path, optional
        Folder of the answer sheets; empty when there is none.
    margin : float
        Asked for now; 0 takes the declared one, or `MARGIN`. It may not differ from a declared one.

    Returns
    -------
    Protocol

    Raises
    ------
    ProtocolError
        When the file or the margin cannot be used.
    """
    asked = check_margin(margin) if margin else 0.0
    path = Path(panel) / "protocol.json"
    if not str(panel) or not path.is_file():
        return Protocol(margin=asked or MARGIN)
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(found, dict) or set(found) != set(json.loads(EXAMPLE)):
            raise ProtocolError("these three entries and no others are needed")
        if found["primary"] not in ENDPOINTS:
            raise ProtocolError(f"primary: {found['primary']!r} is none of {', '.join(ENDPOINTS)}")
        day, declared = datetime.date.fromisoformat(str(found["declared"])), check_margin(found["margin"])
        if day > datetime.date.today():
            raise ProtocolError(f"declared: {day} lies ahead")
    except ValueError as error:
        raise ProtocolError(f"{path}: {error}; write it as {EXAMPLE}") from None
    if asked not in (0.0, declared):
        raise ProtocolError(
            f"{path} declares a margin of {declared:g}, and {asked:g} is asked for; leave the parameter out, or take the "
            "declaration back by removing the file"
        )
    for sheet in sorted(Path(panel).glob("*.*")):
        saved = datetime.date.fromtimestamp(sheet.stat().st_mtime)
        if sheet.suffix.lower() in (".csv", ".tsv", ".txt", ".xlsx") and saved < day:
            late = f"protocol.json is dated {day}, after the answer sheet {sheet.name}, which was saved on {saved}"
            return Protocol(declared, found["primary"], late=late)
    return Protocol(declared, found["primary"], str(day))
