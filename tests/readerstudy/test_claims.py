"""Sentences follow their numbers; protocols are read or refused with a remedy."""

import datetime
import json
import os

import numpy as np
import pandas as pd
import pytest

import readerstudy
from readerstudy import claims, power, protocol

RIGHT = "aabbccddeeff" * 3


def say(sheets, truth, groups=None, **more):
    groups = None if groups is None else pd.Series(list(groups), truth.index)
    numbers = readerstudy.headline(sheets, truth, groups, **more)
    return numbers, readerstudy.claim_sentences(numbers, readerstudy.mcnemar_table(sheets, truth, groups))


def panel_of(n, wrong=1):
    """Readers who each get other images wrong, and a machine without an error."""
    readers = {f"r{k:02d}": "".join("z" if (k + i) % n < wrong else x for i, x in enumerate(RIGHT)) for k in range(n)}
    return {"m": RIGHT} | readers


VERDICTS = [
    # interval, verdict, what is said of it
    (0.1, 0.3, "superior", "more often right"),
    (-0.3, -0.1, "inferior", "less often right"),
    (-0.1, 0.2, "undecided", "cannot be told apart"),
    (-0.02, 0.2, "non-inferior", "non-inferiority at the margin of 0.05, but not superiority"),
    (-0.02, 0.02, "equivalent", "equivalence, as the interval lies within 0.05 of 0"),
    (0.005, 0.03, "superior and equivalent", "lies above 0, and equivalence, as the interval lies within 0.05 of 0"),
    (1.6e-16, 0.5, "non-inferior", "but not superiority"),
]


@pytest.mark.parametrize(("low", "high", "word", "sentence"), VERDICTS)
def test_claims_follow_the_interval(make, low, high, word, sentence):
    assert readerstudy.verdict(low, high, 0.05) == word
    sheets, truth = make(panel_of(6), RIGHT)
    numbers = readerstudy.headline(sheets, truth)
    numbers["difference"] = {"value": (low + high) / 2, "low": low, "high": high, "verdict": word}
    assert sentence in readerstudy.claim_sentences(numbers, readerstudy.mcnemar_table(sheets, truth))[0]


def test_a_claim_about_the_vote_agrees_with_its_estimate_in_sign(make):
    # Five of twelve readers wrong on every image: the vote is always right, the machine twice wrong.
    vote = say(*make(panel_of(12, 5) | {"m": "zz" + RIGHT[2:]}, RIGHT))[0]["difference_vote"]
    assert vote["value"] == pytest.approx(-2 / 36) and vote["low"] < vote["value"] < vote["high"] < 0.1


def test_a_quiz_too_small_to_show_anything_says_so_first_and_makes_no_claim(make):
    _, sentences = say(*make({"m": "aab", "r1": "zab", "r2": "zab"}, "aab"), "sss")
    assert sentences[0].startswith("3 quiz images of 1 specimen: nothing can be concluded; about 100 images")
    assert not any("shows" in sentence or "exact test" in sentence.lower() for sentence in sentences)
    shown = power.power_table(np.arange(claims.LARGE_ENOUGH), 12, 0.7, (0.15,), (0.5,))["superior"][0]
    assert shown == pytest.approx(0.82, abs=0.04), "the number in the sentence"


def test_the_size_of_an_uneven_quiz_and_its_laboratories_is_told(make):
    sheets, truth = make(panel_of(6) | {"r00": "aa?" + RIGHT[3:], "m": "?" + RIGHT[1:]}, RIGHT)
    sheets["laboratory"] = sheets["decision_maker"] < "r03"
    numbers, _ = say(sheets, truth, "s" * 12 + "t" * 11 + "u" * 7 + "vvvwwx")
    assert readerstudy.size_sentences(numbers) == [
        "36 quiz images of 6 specimens (of unequal size, they count as 4.0 of equal size) were answered by 6 readers of 2 "
        "laboratories: 216 images shown in all, 1 of them left without an answer, which counts as wrong."
    ]
    assert numbers["readers_are"] == "these", "two laboratories are no sample of laboratories"


def test_tests_say_where_they_cannot_decide(make):
    sheets, truth = make({"m": RIGHT[:21]} | {f"r{k}": "z" * 21 for k in range(12)}, RIGHT[:21])
    told = " ".join(say(sheets, truth, "stuvwxy" * 3)[1])
    assert "cannot decide: 7 specimens allow no p-value below 0.2 after Holm's correction over 13 comparisons" in told
    assert "better than 0" not in told


def test_one_reader_is_one_comparison(make):
    numbers, sentences = say(*make({"m": RIGHT, "r1": "z" * 6 + RIGHT[6:]}, RIGHT))
    told = " ".join(sentences)
    assert "better than 1 and worse than 0 of 1 reader (smallest p-value: p = 0.031)." in told and "vote" not in told
    assert numbers["readers_are"] == "these" and "this reader" in sentences[0] and "say nothing of other readers" in told
    assert claims.p_words(0.0002) == "p < 0.001"


def declare(folder, **change):
    sound = {"declared": "2026-01-31", "margin": 0.1, "primary": "majority vote"}
    (folder / "protocol.json").write_text(json.dumps(sound | change))


def test_a_declared_protocol_is_named_and_its_primary_endpoint_comes_first(make, tmp_path):
    declare(tmp_path)
    (tmp_path / "r1.csv").write_text("quiz\n")
    found, quiz = readerstudy.read_protocol(tmp_path), make(panel_of(3), RIGHT)
    assert found == protocol.Protocol(0.1, "majority vote", "2026-01-31")
    _, sentences = say(*quiz, protocol=found)
    assert sentences[0].startswith("Primary endpoint: ") and "majority vote" in sentences[0]
    assert "declared on 2026-01-31" in sentences[-1] and sentences[1].startswith("Secondary")
    # A sheet that is older than the date shows that the date came after the answers.
    os.utime(tmp_path / "r1.csv", (1.7e9, 1.7e9))
    late = readerstudy.read_protocol(tmp_path)
    assert late.margin == 0.1 and not late.declared and "after the answer sheet r1.csv" in late.late
    _, sentences = say(*quiz, protocol=late)
    assert sentences[0].startswith("Not declared") and late.late in sentences[-1] and "exploratory" in sentences[-1]
    assert "No protocol was declared" in say(*quiz, protocol=readerstudy.read_protocol(""))[1][-1]


UNUSABLE = [
    ({"margin": True}, "margin: True"),
    ({"primary": "the best reader"}, "none of panel mean, majority vote"),
    ({"declared": "last week"}, "last week.*write it as .*2026-01-31"),
    ({"declared": str(datetime.date.today() + datetime.timedelta(3))}, "lies ahead"),
    ({"note": "x"}, "no others"),
    ({}, "declares a margin of 0.1, and 0.05 is asked for"),
]


@pytest.mark.parametrize(("change", "message"), UNUSABLE)
def test_a_protocol_that_cannot_be_used_is_refused(tmp_path, change, message):
    declare(tmp_path, **change)
    with pytest.raises(protocol.ProtocolError, match=message):
        readerstudy.read_protocol(tmp_path, 0.05)


def test_a_margin_without_meaning_is_refused():
    for margin in (5, -0.05, float("nan")):
        for call in (lambda m: readerstudy.read_protocol("", m), lambda m: readerstudy.verdict(-0.1, 0.1, m)):
            with pytest.raises(protocol.ProtocolError, match="at most 0.2"):
                call(margin)
