"""Scattering coefficients against closed forms: a grating's wavelength, invariances, and what a spectrum cannot tell."""

import numpy as np
import pytest

from microrace.machine import scattering

SIZE = 128
OCTAVES = scattering.n_octaves(SIZE)
N_SECOND = OCTAVES * (OCTAVES - 1) // 2 * (scattering.N_ANGLES // 2 + 1)


def noise(seed, blur_px=2.0):
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None, :])
    spectrum = np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * np.exp(-2 * (np.pi * blur_px * frequency) ** 2)
    return np.fft.ifft2(spectrum).real


@pytest.mark.parametrize("octave", range(OCTAVES))
@pytest.mark.parametrize("degrees", [0, 30, 77])
def test_a_grating_is_strongest_at_the_octave_of_its_wavelength(octave, degrees):
    y, x = np.mgrid[:SIZE, :SIZE]
    cycles_per_px = scattering.CENTRE / 2**octave
    angle = np.radians(degrees)
    wave = np.cos(2 * np.pi * cycles_per_px * (x * np.cos(angle) + y * np.sin(angle)))
    strength = scattering.coefficients(wave[None])[0, :OCTAVES]
    assert strength.argmax() == octave
    # A directed texture: the place-by-place coherence of that octave is near 1, that of white noise is not.
    coherence = OCTAVES + N_SECOND + 3 * octave
    assert scattering.coefficients(wave[None])[0, coherence] > 0.6
    assert scattering.coefficients(noise(0, 0.1)[None])[0, coherence + 1] < 0.3


def test_turned_mirrored_brighter_and_steeper_crops_have_the_same_coefficients():
    crop = noise(1)
    crop = crop / crop.std()
    others = np.stack([crop, np.rot90(crop), crop[:, ::-1], crop.T, 3 * crop + 5])
    found = scattering.coefficients(others)
    between_textures = scattering.coefficients(np.stack([noise(s, b) for s in range(5) for b in (1, 2, 4)])).std(axis=0)
    off = np.abs(found - found[0]) / between_textures
    # The coarsest moduli are sampled on a grid of a few points, which does not turn with the crop.
    assert np.median(off[1:4]) < 0.05 and np.abs(found[1:4] - found[0]).max() < 0.06
    # Only the small constant that keeps a blank crop finite tells contrasts apart.
    assert np.abs(found[4] - found[0]).max() < 0.02


def test_second_order_tells_textures_of_one_spectrum_apart():
    """Discs, and noise with the discs' very spectrum: the first order cannot part them, the second can."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:SIZE, :SIZE]
    discs, scrambled = [], []
    for _ in range(12):
        centres = rng.uniform(0, SIZE, (25, 2))
        distance = [np.hypot((x - cx + 64) % SIZE - 64, (y - cy + 64) % SIZE - 64) for cx, cy in centres]
        crop = (np.min(distance, axis=0) < 6).astype(float)
        phase = np.fft.fft2(rng.standard_normal((SIZE, SIZE)))
        discs.append(crop)
        scrambled.append(np.fft.ifft2(np.abs(np.fft.fft2(crop - crop.mean())) * phase / np.abs(phase)).real)
    a, b = (scattering.coefficients(np.stack(crops)) for crops in (discs, scrambled))
    apart = np.abs(a.mean(axis=0) - b.mean(axis=0)) / np.sqrt((a.var(axis=0) + b.var(axis=0)) / 2)
    second = apart[OCTAVES : OCTAVES + N_SECOND]
    assert np.median(second) > 2 * np.median(apart[:OCTAVES])
    assert second.max() > 5


@pytest.mark.parametrize("crop_px", [16, 32, 48, 96, 128, 160])
def test_any_size_of_crop_gives_finite_numbers_in_the_promised_count(crop_px):
    crops = np.random.default_rng(3).random((3, crop_px, crop_px))
    crops[1] = 0.5
    found = scattering.coefficients(crops, batch_size=2)
    assert found.shape == (3, scattering.n_coefficients(crop_px))
    assert np.isfinite(found).all()
    assert np.allclose(found, scattering.coefficients(crops, batch_size=3), atol=1e-4)


def test_no_crops_give_no_rows():
    assert scattering.coefficients(np.zeros((0, 64, 64))).shape == (0, scattering.n_coefficients(64))
