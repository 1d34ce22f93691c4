"""Whom to name for the micrographs of a study, from its manifest's own columns."""

from __future__ import annotations

import pandas as pd


def of(manifest: pd.DataFrame) -> list[str]:
    """Return a sentence for each citation and licence among the images: how many they are, and where they come from.

    Parameters
    ----------
    manifest : DataFrame
        With any of ``source``, ``licence`` and ``citation``; of many sources the first is named and the others counted.
    """
    columns = manifest.reindex(columns=["source", "licence", "citation"]).fillna("")
    sentences = []
    for (citation, licence), rows in columns.groupby(["citation", "licence"], sort=False):
        sources = [source for source in rows["source"].unique() if source]
        source = f"{sources[0]} and {len(sources) - 1} more" if len(sources) > 1 else "".join(sources)
        parts = [part for part in (source, citation, f"licence {licence}" if licence else "") if part]
        if parts:
            sentences.append(f"{len(rows)} image{'s' if len(rows) > 1 else ''}: {'; '.join(parts)}.")
    return sentences
