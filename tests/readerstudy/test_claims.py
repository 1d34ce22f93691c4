"""Sentences follow their numbers; protocols are read or refused with a remedy."""

import datetime
import json

import pytest

import readerstudy as comparison
from readerstudy import claims, protocol


def say(make, columns, truth, **more):
    sheets, truth = make(columns, truth)
    numbers = comparison.headline(sheets, truth, n_draws=50, **more)
    return numbers, comparison.claim_sentences(numbers, comparison.mcnemar_table(sheets, truth))


def test_claims_follow_the_interval(sheets, truth):
    numbers = comparison.headline(sheets, truth, n_draws=50)
    tests = comparison.mcnemar_table(sheets, truth)
    assert numbers["difference"]["value"] == pytest.approx(1 - 13 / 18)

    def first(low, high):
        d = {"value": (low + high) / 2, "low": low, "high": high, "verdict": comparison.verdict(low, high, 0.025)}
        return comparison.claim_sentences(numbers | {"difference": d, "margin": 0.025}, tests)[0]

    assert "more often right" in first(0.1, 0.3) and "superiority, as the interval lies above 0" in first(0.1, 0.3)
    assert "margin" not in first(0.1, 0.3), "superiority is not tested against the margin"
    assert "less often right" in first(-0.3, -0.1) and "inferiority" in first(-0.3, -0.1)
    assert "cannot be told apart" in first(-0.1, 0.2) and "undecided" in first(-0.1, 0.2)
    assert "non-inferiority at the margin of 0.025, but not superiority" in first(-0.02, 0.2)
    assert "equivalence, as the interval lies within 0.025 of 0" in first(-0.02, 0.02)


def test_a_bound_that_is_zero_but_for_rounding_is_zero():
    assert comparison.verdict(1.6e-16, 0.5, 0.05) == "non-inferior"
    assert comparison.verdict(-0.5, -1.6e-16, 0.05) == "undecided"


def test_near_ceiling_a_machine_without_error_is_not_superior(make):
    right = "a" * 36
    readers = {f"r{k:02d}": right[:k] + "b" + right[k + 1 :] for k in range(12)}
    numbers, _ = say(make, {"m": right} | readers, right)
    assert numbers["difference"]["verdict"] != "superior"


def test_a_claim_about_the_vote_agrees_with_its_estimate_in_sign(make):
    # Five of twelve readers wrong on every image: the vote is always right, the machine twice wrong.
    right = "a" * 36
    readers = {f"r{k:02d}": "".join("b" if (k + i) % 12 < 5 else "a" for i in range(36)) for k in range(12)}
    vote = say(make, {"m": "bb" + right[2:]} | readers, right)[0]["difference_vote"]
    assert vote["value"] == pytest.approx(-2 / 36) and vote["low"] < vote["value"] < vote["high"] < 0.1


def test_few_readers_are_these_and_no_width_is_no_verdict(make):
    numbers, sentences = say(make, {"m": "abc", "r1": "abc"}, "abc")
    assert numbers["difference"]["verdict"] == "undecided" and numbers["readers_are"] == "these"
    assert "this reader" in sentences[0] and any("say nothing of other readers" in s for s in sentences)
    assert numbers["difference"]["high"] == pytest.approx(0.71, abs=5e-3)
    many = say(make, {"m": "abc"} | {f"r{k}": "abb" for k in range(5)}, "abc")[1]
    assert "readers like these 5" in many[0] and not any("say nothing" in s for s in many)


def test_small_p_values_are_not_printed_as_zero():
    words = [claims.p_words(p) for p in (0.0002, 0.004, 0.05, 0.5)]
    assert words == ["p < 0.001", "p = 0.004", "p = 0.050", "p = 0.50"]


def test_a_declared_protocol_is_named_and_its_primary_endpoint_comes_first(make, tmp_path):
    (tmp_path / "protocol.json").write_text(
        json.dumps({"declared": "2026-01-31", "margin": 0.1, "primary": "majority vote"})
    )  # fmt: skip
    found = comparison.read_protocol(tmp_path)
    assert found == protocol.Protocol(0.1, "majority vote", "2026-01-31")
    _, sentences = say(make, {"m": "aabb", "r1": "abbb", "r2": "aabb"}, "aabb", protocol=found)
    assert sentences[0].startswith("Primary endpoint: ") and "majority vote" in sentences[0]
    assert "declared on 2026-01-31" in sentences[-1] and sentences[1].startswith("Secondary")
    _, without = say(make, {"m": "aabb", "r1": "abbb"}, "aabb")
    assert "No protocol was declared" in without[-1]
    with pytest.raises(protocol.ProtocolError, match="declares a margin of 0.1, and 0.05 is asked for"):
        comparison.read_protocol(tmp_path, 0.05)
    assert comparison.read_protocol("").margin == protocol.MARGIN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margin": 5}, "margin: 5 is no margin"),
        ({"margin": True}, "is no margin"),
        ({"primary": "the best reader"}, "take one of panel mean, majority vote"),
        ({"declared": "last week"}, "give the date as 2026-01-31"),
        ({"declared": str(datetime.date.today() + datetime.timedelta(3))}, "lies ahead"),
        ({"note": "x"}, "nothing else"),
    ],
)
def test_a_protocol_that_cannot_be_used_is_refused(tmp_path, change, message):
    sound = {"declared": "2026-01-31", "margin": 0.05, "primary": "panel mean"}
    (tmp_path / "protocol.json").write_text(json.dumps(sound | change))
    with pytest.raises(protocol.ProtocolError, match=message):
        comparison.read_protocol(tmp_path)


@pytest.mark.parametrize("margin", [5, -0.05, float("nan")])
def test_a_margin_without_meaning_is_refused(margin):
    with pytest.raises(protocol.ProtocolError, match="at most 0.2"):
        comparison.read_protocol("", margin)
    with pytest.raises(protocol.ProtocolError):
        comparison.verdict(-0.1, 0.1, margin)
