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
FILE = "protocol.json"


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
        ISO date; empty when nothing was declared before the answers were read.
    """

    margin: float = MARGIN
    primary: str = ENDPOINTS[0]
    declared: str = ""


def check_margin(margin: float, where: str = "margin") -> float:
    """A margin that means something: above 0 and at most `LARGEST_MARGIN`, else `ProtocolError`."""
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin <= LARGEST_MARGIN:
        raise ProtocolError(
            f"{where}: {margin!r} is no margin; give a difference in accuracy above 0 and at most {LARGEST_MARGIN:g}, "
            f"such as {MARGIN:g}"
        )
    return float(margin)


def read_protocol(panel: str | Path = "", margin: float = 0.0) -> Protocol:
    """The protocol of a panel: as declared in its folder's ``protocol.json``, else this study's own.

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
    if margin:
        check_margin(margin)
    path = Path(panel) / FILE
    if not str(panel) or not path.is_file():
        return Protocol(margin=float(margin) or MARGIN)
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ProtocolError(f"{path}: not JSON ({error}); write it as data/panels/README.md shows") from None
    keys = {"declared", "margin", "primary"}
    if not isinstance(found, dict) or set(found) != keys:
        given = ", ".join(sorted(found)) if isinstance(found, dict) else type(found).__name__
        raise ProtocolError(f"{path}: must give {', '.join(sorted(keys))} and nothing else; it gives {given or 'nothing'}")
    check_margin(found["margin"], f"{path}, margin")
    if found["primary"] not in ENDPOINTS:
        raise ProtocolError(f"{path}, primary: {found['primary']!r}: take one of {', '.join(ENDPOINTS)}")
    try:
        day = datetime.date.fromisoformat(found["declared"])
    except (TypeError, ValueError):
        raise ProtocolError(f"{path}, declared: {found['declared']!r}: give the date as 2026-01-31") from None
    if day > datetime.date.today():
        raise ProtocolError(f"{path}, declared: {day} lies ahead; give the day on which it was declared")
    if margin and margin != found["margin"]:
        raise ProtocolError(
            f"{path} declares a margin of {found['margin']:g}, and {margin:g} is asked for; leave the parameter out, "
            "or take the declaration back by removing the file"
        )
    return Protocol(float(found["margin"]), found["primary"], str(day))
