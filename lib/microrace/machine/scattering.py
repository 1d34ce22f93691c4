"""Scattering coefficients of crops: texture in a few dozen numbers that no training image had a say in.

Wavelets find how much there is of each wavelength in each direction, and wavelets of their moduli how that is arranged:
lamellae, laths and particles of one size have the same spectrum and part only there. See Bruna and Mallat,
"Invariant scattering convolution networks", IEEE PAMI 35 (2013) 1872, and, for the average over rotations, Sifre and
Mallat, CVPR 2013. Nothing is learned here, so that nothing can be overfitted: what a hundred images cannot teach a
network, they need not.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

N_ANGLES = 8
# Of the wavelet of the smallest wavelength, in cycles a pixel: where it is centred, and how wide its Gaussian is.
CENTRE, SPREAD = 0.375, 0.2
# Across its direction a wavelet's spectrum is narrower, so that eight directions tile the circle.
SLANT = 4 / N_ANGLES


def n_octaves(crop_px: int) -> int:
    """Octaves of wavelength, from two pixels or so up to about a third of the crop."""
    return max(1, int(math.log2(crop_px)) - 2)


@lru_cache(maxsize=64)
def _band(from_px: int, crop_px: int, octave: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the wavelets of an octave lie in a spectrum of ``from_px`` x ``from_px``, and their values there.

    Only a block around a wavelet's centre is kept, two and a half of its standard deviations each way. Moving the block
    to zero frequency leaves the modulus as it is, so the modulus comes out on a grid no finer than it needs.

    Returns
    -------
    index : Tensor (N_ANGLES, n, n) of int
        Into the flattened spectrum.
    value : Tensor (N_ANGLES, n, n)
    """
    n = min(from_px, max(8, round(crop_px / 2**octave)))
    centre, spread = CENTRE * crop_px / 2**octave, SPREAD * crop_px / 2**octave  # in cycles a crop
    angle = math.pi * torch.arange(N_ANGLES)[:, None, None] / N_ANGLES
    offset = torch.arange(n) - n // 2
    kx = torch.round(centre * angle.cos()) + offset[None, None, :]
    ky = torch.round(centre * angle.sin()) + offset[None, :, None]

    def gaussian(along):
        across = ky * angle.cos() - kx * angle.sin()
        return torch.exp(-(along**2 + (across / SLANT) ** 2) / (2 * spread**2))

    along = kx * angle.cos() + ky * angle.sin()
    # Morlet's correction: no response to a constant.
    value = gaussian(along - centre) - math.exp(-((centre / spread) ** 2) / 2) * gaussian(along)
    index = (ky.long() % from_px) * from_px + kx.long() % from_px
    return index, value


def _moduli(spectrum: torch.Tensor, crop_px: int, octave: int) -> torch.Tensor:
    """Moduli of the wavelets of an octave: spectra (..., m, m) to (..., N_ANGLES, n, n), of the same mean grey."""
    m = spectrum.shape[-1]
    index, value = _band(m, crop_px, octave)
    block = spectrum.flatten(-2)[..., index] * value
    return torch.fft.ifft2(block).abs() * (block.shape[-1] / m) ** 2


def _inner(maps: torch.Tensor) -> torch.Tensor:
    """Without the outermost sixteenth, where the Fourier transform joins opposite edges."""
    margin = max(1, maps.shape[-1] // 16)
    return maps[..., margin:-margin, margin:-margin]


def n_coefficients(crop_px: int) -> int:
    """Length of what `coefficients` gives a crop."""
    octaves = n_octaves(crop_px)
    return 4 * octaves + octaves * (octaves - 1) // 2 * (N_ANGLES // 2 + 1) + 2


@torch.inference_mode()
def coefficients(crops, batch_size: int = 8) -> np.ndarray:
    """Scattering coefficients of crops, nearly the same however a crop is turned or mirrored.

    Crops are brought to mean 0 and standard deviation 1 first. For each octave of wavelength: the logarithm of the mean
    modulus; how directed it is, place by place and over the whole crop (the doubled angle's mean resultant, as in a
    structure tensor); and how uneven (mean square over squared mean). For each pair of octaves and each angle between
    the two wavelets: the logarithm of the second-order coefficient over the first-order one. Last, the crop's third
    and fourth moment.

    Parameters
    ----------
    crops : array (n, crop_px, crop_px)
    batch_size : int

    Returns
    -------
    array (n, n_coefficients(crop_px)) of float32
    """
    crop_px = crops.shape[-1]
    octaves = range(n_octaves(crop_px))
    doubled = 2 * math.pi * torch.arange(N_ANGLES) / N_ANGLES
    # The angle between the first and the second wavelet; its sign does not matter.
    turn = (torch.arange(N_ANGLES)[None, :] - torch.arange(N_ANGLES)[:, None]) % N_ANGLES
    turn = torch.minimum(turn, N_ANGLES - turn)
    out = []
    for start in range(0, len(crops), batch_size):
        x = torch.from_numpy(np.asarray(crops[start : start + batch_size], dtype=np.float32))
        x = x - x.mean(dim=(1, 2), keepdim=True)
        x = x / (x.std(dim=(1, 2), keepdim=True) + 1e-3)
        spectrum = torch.fft.fft2(x)
        strength, order, ratio = [], [], []
        for octave in octaves:
            moduli = _moduli(spectrum, crop_px, octave)
            inner = _inner(moduli)
            mean = inner.mean(dim=(2, 3))
            strength.append(mean.mean(dim=1))
            cosine, sine = (torch.einsum("nlhw,l->nhw", inner, f(doubled)) for f in (torch.cos, torch.sin))
            total = mean.sum(dim=1) + 1e-6  # a blank crop has no direction
            order.append(torch.hypot(cosine, sine).mean(dim=(1, 2)) / total)
            order.append(torch.hypot(cosine.mean(dim=(1, 2)), sine.mean(dim=(1, 2))) / total)
            order.append(((inner**2).mean(dim=(2, 3)) / (mean**2 + 1e-9)).mean(dim=1))
            of_moduli = torch.fft.fft2(moduli)
            for second in octaves[octave + 1 :]:
                share = _inner(_moduli(of_moduli, crop_px, second)).mean(dim=(3, 4)) / (mean[:, :, None] + 1e-6)
                ratio += [share[:, turn == t].mean(dim=1) for t in range(N_ANGLES // 2 + 1)]
        clipped = x.clamp(-4, 4)
        moments = [(clipped**p).mean(dim=(1, 2)) for p in (3, 4)]
        logs = [torch.log(v + 1e-4) for v in strength + ratio]
        out.append(torch.stack([*logs, *order, *moments], dim=1).numpy())
    return np.concatenate(out).astype(np.float32) if out else np.zeros((0, n_coefficients(crop_px)), np.float32)
