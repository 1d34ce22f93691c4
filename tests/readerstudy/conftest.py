"""A small quiz of six images that the statistics are worked out on by hand."""

import numpy as np
import pandas as pd
import pytest


def make_sheets(columns: dict, truth: str, **more):
    """Sheets and truth from answers as text, a letter an image; "m" is the machine, "-" an image not shown."""
    images = [f"{i:02d}.png" for i in range(len(truth))]
    sheets = [
        pd.DataFrame(
            {
                "quiz": "quiz-x",
                "image": images,
                "decision_maker": name,
                "kind": "machine" if name == "m" else "human",
                "answer": list(answers),
                "seconds": np.nan,
                "confidence": np.nan,
                "years_experience": np.nan,
            }
        ).assign(**more)
        for name, answers in columns.items()
    ]
    table = pd.concat(sheets, ignore_index=True)
    return table[table["answer"] != "-"].reset_index(drop=True), pd.Series(list(truth), index=images, name="truth")


@pytest.fixture
def quiz():
    return make_sheets({"r1": "aabbca", "r2": "abbbaa", "r3": "cabbcc", "m": "aabbcc"}, "aabbcc")


@pytest.fixture
def sheets(quiz):
    return quiz[0]


@pytest.fixture
def truth(quiz):
    return quiz[1]


@pytest.fixture
def make():
    return make_sheets
