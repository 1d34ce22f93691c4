"""Procedural pretraining: seeded textures that hold what they say, a loop that learns, and the weights that are shipped."""

import json

import numpy as np
import pytest
import torch

from microrace.machine import models, pretraining


def test_textures_are_seeded_and_say_what_they_hold():
    image, present, size = pretraining.texture([0, 1])
    again, other = pretraining.texture([0, 1])[0], pretraining.texture([0, 2])[0]
    assert np.array_equal(image, again) and not np.array_equal(image, other)
    assert image.shape == (pretraining.CANVAS_PX,) * 2 and image.dtype == np.uint8 and image.std() > 10
    assert ((size > 0) == (present == 1)).all() and len(present) == len(pretraining.ELEMENTS)


@pytest.mark.parametrize("spacing_px", [8, 20])
def test_lamellae_have_their_spacing(spacing_px, monkeypatch):
    # One straight colony: no neighbours, no bending.
    shape = (pretraining.CANVAS_PX,) * 2
    monkeypatch.setattr(pretraining, "cells", lambda *a: (np.zeros(shape, int), np.ones(shape)))
    monkeypatch.setattr(pretraining, "smooth_noise", lambda rng, correlation_px: np.zeros(shape, np.float32))

    class Plain:
        """A generator that draws the mean of everything."""

        def uniform(self, low=0.0, high=1.0, size=None):
            return np.full(size, 0.0) if size is not None else (low + high) / 2

        def normal(self, mean=0.0, sd=1.0, size=None):
            return np.zeros(size)

        def random(self):
            return 1.0

    grey = pretraining.lamellae(Plain(), spacing_px)
    power = np.abs(np.fft.rfft(grey[0] - grey[0].mean()))
    assert pretraining.CANVAS_PX / power.argmax() == pytest.approx(spacing_px, rel=0.05)


def test_a_short_pretraining_learns_and_its_weights_load(tmp_path):
    backbone, history = pretraining.pretrain(
        n_textures=100, epochs=3, views_per_epoch=256, batch_size=32, crop_px=48, workers=0
    )
    assert len(history) == 3 and history[-1]["pairing"] < history[0]["pairing"]
    torch.save(backbone.state_dict(), tmp_path / "weights.pt")
    loaded = models.build_backbone("residual", str(tmp_path / "weights.pt"))
    for a, b in zip(backbone.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_shipped_weights_have_their_card_and_fit():
    card = json.loads(models.PROCEDURAL_WEIGHTS.with_suffix(".json").read_text())
    assert "no micrograph" in card["what"] and card["command"].startswith("python -m microrace.machine.pretraining")
    shipped = models.build_backbone("residual", "procedural").state_dict()
    torch.manual_seed(0)
    fresh = models.build_backbone("residual").state_dict()
    assert any(not torch.equal(shipped[k], fresh[k]) for k in fresh)
    assert card["history"][-1]["named_right"] > card["history"][0]["named_right"]
