"""A small quiz of six images that the statistics are worked out on by hand."""

import numpy as np
import pandas as pd
import pytest

from readerstudy import NO_ANSWER

SMALL = {"r1": "aabbca", "r2": "abbbaa", "r3": "cabbcc", "m": "aabbcc"}


def make_sheets(columns=SMALL, truth="aabbcc"):
    """Sheets and truth of answers as text, a letter an image; "m" is the machine, "-" not shown, "?" no answer."""
    images = [f"{i:02d}.png" for i in range(len(truth))]
    rows = [
        (name, "machine" if name == "m" else "human", image, NO_ANSWER if answer == "?" else answer)
        for name, answers in columns.items()
        for image, answer in zip(images, answers, strict=True)
        if answer != "-"
    ]
    table = pd.DataFrame(rows, columns=["decision_maker", "kind", "image", "answer"])
    table = table.assign(seconds=np.nan, confidence=np.nan, years_experience=np.nan)
    return table, pd.Series(list(truth), index=images, name="truth")


@pytest.fixture
def make():
    return make_sheets
