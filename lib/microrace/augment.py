"""What may be done to a crop: the transformations, declared once, and the named pipelines made of them.

What a metallurgist knows does not change a microstructure: turning it, another contrast, a slightly wrong focus.
`TRANSFORMATIONS` declares each once; pipelines, the ablation ("without noise"), the sliders and the figure that explains
them follow from it.

A pipeline cuts one crop in a single warp (position, rotation, mirror, zoom and scale together, see `scale.warp_crop`) and
then changes its grey values. ``pixels_per_um`` goes in with the image and comes out as the crop's own scale. Grey values
are changed *after* the warp, in pixels of the crop: interpolation halves or keeps noise depending on the zoom, and a
network would read the scale off it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# albumentations asks the network for news when imported, unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402

from microrace.scale import feasible_fields_of_view_um, warp_crop  # noqa: E402

# Threads inside OpenCV only fight with the processes that make crops.
cv2.setNumThreads(1)

# The kinds of transformations in each pipeline; all draw the crop's position.
PIPELINES = {"none": (), "geometric": ("geometric",), "photometric": ("photometric",), "full": ("geometric", "photometric")}
# Smallest share of an image's short side that a crop without physical fields of view shows.
SMALLEST_SHARE = 0.45


def geometry(pixels_per_um: float, side_px: float, crop_px: int, strengths: Mapping[str, float]) -> dict:
    """Arguments of `scale.warp_crop` for a square of ``side_px`` pixels at given strengths of geometric transformations."""
    value = {name: strengths.get(name, TRANSFORMATIONS[name].neutral) for name in ("rotation", "mirror", "zoom")}
    return {
        "pixels_per_um": pixels_per_um,
        "target_pixels_per_um": pixels_per_um * crop_px / (side_px * value["zoom"]),
        "size_px": crop_px,
        "rotation_deg": value["rotation"],
        "mirror": value["mirror"] > 0.5,
    }


class ScaleCrop(A.ImageOnlyTransform):
    """Cut a crop of known physical field of view, turned, mirrored and zoomed, and report its true scale.

    Needs ``pixels_per_um`` beside ``image`` in the call and replaces it by the crop's.

    Parameters
    ----------
    crop_px : int
        Side of the crop.
    fields_of_view_um : sequence of float, optional
        Physical fields of view, one of which is drawn from those that the image can supply. None leaves the
        physical scale out: the side is a random share of the image's short side.
    drawn : dict of str to (float, float)
        Geometric transformations and the strengths that are drawn.
    """

    def __init__(self, crop_px: int, fields_of_view_um=None, drawn: dict | None = None, p: float = 1.0):
        super().__init__(p=p)
        self.crop_px, self.fields_of_view_um, self.drawn = crop_px, fields_of_view_um, drawn or {}

    @property
    def targets_as_params(self) -> list[str]:
        """The scale decides the crop."""
        return ["pixels_per_um"]

    @property
    def targets(self) -> dict:
        """Image and scale change together."""
        return {"image": self.apply, "pixels_per_um": self.apply_to_pixels_per_um}

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        """Draw field of view, position and the strengths."""
        shape, pixels_per_um, uniform = params["shape"][:2], float(data["pixels_per_um"]), self.py_random.uniform
        short = min(shape)
        if self.fields_of_view_um is None:
            side_px = short * math.exp(uniform(math.log(SMALLEST_SHARE), 0.0))
        else:
            fields = feasible_fields_of_view_um(shape, pixels_per_um, self.fields_of_view_um, self.crop_px)
            side_px = self.py_random.choice(fields) * pixels_per_um
        strengths = {name: uniform(*drawn) for name, drawn in self.drawn.items()}
        # The crop's upright square lies inside the image; corners of a turned one may reach over the edge.
        strengths["zoom"] = min(strengths.get("zoom", 1.0), short / side_px)
        half = side_px * strengths["zoom"] / 2
        centre = tuple(uniform(half, length - half) - 0.5 for length in shape[::-1])
        return {"warp": {"centre_xy": centre, **geometry(pixels_per_um, side_px, self.crop_px, strengths)}}

    def apply(self, img, warp, **params):
        """The one warp."""
        return warp_crop(img, **warp)

    def apply_to_pixels_per_um(self, pixels_per_um, warp, **params):
        """The crop's own scale."""
        return warp["target_pixels_per_um"]


class Shading(A.ImageOnlyTransform):
    """Uneven illumination, etch or charging: a slope and a bowl of grey values, each up to the amplitude drawn.

    albumentations' own ``Illumination`` stops at a fifth of the light, which crops of low contrast hardly notice.
    """

    def __init__(self, amplitude_range: tuple[float, float], p: float = 0.5):
        super().__init__(p=p)
        self.amplitude_range = amplitude_range

    def get_params(self) -> dict:
        """Draw how strong it is, the slope's direction and the bowl."""
        amplitude, angle = self.py_random.uniform(*self.amplitude_range), self.py_random.uniform(0, 2 * math.pi)
        bowl = self.py_random.choice((-1, 1)) * amplitude / 2
        return {"slope_x": amplitude * math.cos(angle), "slope_y": amplitude * math.sin(angle), "bowl": bowl}

    def apply(self, img, slope_x, slope_y, bowl, **params):
        """Add slope and bowl, in grey values from the centre to the edge."""
        x, y = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in img.shape[::-1]))
        light = np.float32(slope_x) * x + np.float32(slope_y) * y + np.float32(bowl) * (x**2 + y**2)
        return np.clip(img + light, 0, 1)


@dataclass(frozen=True)
class Transformation:
    """One thing that may be done to a crop.

    Attributes
    ----------
    label : str
        Its name in words, for sliders and figures.
    kind : str
        ``geometric`` (part of the one warp) or ``photometric`` (grey values, after it).
    neutral : float
        The strength that changes nothing.
    drawn : (float, float)
        Strengths that training draws from.
    shown : float
        Strength in the figure that explains it.
    slider : (float, float, float)
        Lowest and highest strength, and step, of a slider.
    make : callable, optional
        Photometric ones: the albumentations transform of (low, high, probability) that draws its strength from low to high.
    probability : float
        How often a pipeline applies a photometric one.
    """

    label: str
    kind: str
    neutral: float
    drawn: tuple[float, float]
    shown: float
    slider: tuple[float, float, float]
    make: Callable[[float, float, float], A.ImageOnlyTransform] | None = None
    probability: float = 1.0

    def apply(self, crop: np.ndarray, value: float, rng: np.random.Generator) -> np.ndarray:
        """Change a crop's grey values at a given strength; geometric ones are done by `crop_at`, in its warp.

        Parameters
        ----------
        crop : array (h, w) of float32, 0 to 1
        value : float
            Strength; at ``neutral`` the crop comes back as it is.
        rng : numpy Generator
            Of noise, and of the direction of shading.

        Returns
        -------
        array (h, w) of float32
        """
        if value == self.neutral or self.make is None:
            return crop
        transform = self.make(value, value, 1.0)
        transform.set_random_seed(int(rng.integers(2**31)))
        return transform(image=crop)["image"]


# In the order in which they are applied: that of the light's path from the specimen to the file.
TRANSFORMATIONS = {
    "rotation": Transformation("rotation (°)", "geometric", 0.0, (0.0, 360.0), 30.0, (0.0, 360.0, 1.0)),
    "mirror": Transformation("mirror", "geometric", 0, (0, 1), 1, (0, 1, 1)),
    "zoom": Transformation("field of view (times)", "geometric", 1.0, (0.8, 1.25), 1.25, (0.5, 2.0, 0.05)),
    "shading": Transformation(
        "shading (grey values)", "photometric", 0.0, (0.0, 0.15), 0.15, (0.0, 0.5, 0.01),
        lambda low, high, p: Shading((low, high), p), 0.5,
    ),
    "defocus": Transformation(
        "defocus (px)", "photometric", 0.0, (0.3, 1.2), 1.2, (0.0, 6.0, 0.1),
        lambda low, high, p: A.GaussianBlur(sigma_limit=(low, high), blur_limit=0, p=p), 0.4,
    ),
    "contrast": Transformation(
        "contrast (times)", "photometric", 1.0, (0.6, 1.5), 1.4, (0.2, 3.0, 0.05),
        lambda low, high, p: A.RandomBrightnessContrast((0, 0), (low - 1, high - 1), p=p), 0.8,
    ),
    "brightness": Transformation(
        "brightness (grey values)", "photometric", 0.0, (-0.15, 0.15), -0.15, (-0.5, 0.5, 0.01),
        lambda low, high, p: A.RandomBrightnessContrast((low, high), (0, 0), p=p), 0.8,
    ),
    "gamma": Transformation(
        "gamma", "photometric", 1.0, (0.6, 1.6), 1.4, (0.3, 3.0, 0.05),
        lambda low, high, p: A.RandomGamma(gamma_limit=(100 * low, 100 * high), p=p), 0.5,
    ),
    "noise": Transformation(
        "noise (grey values)", "photometric", 0.0, (0.0, 0.06), 0.06, (0.0, 0.4, 0.01),
        lambda low, high, p: A.GaussNoise(std_range=(low, high), p=p), 0.8,
    ),
    "jpeg": Transformation(
        "JPEG quality", "photometric", 100, (40, 95), 30, (5, 100, 1),
        lambda low, high, p: A.ImageCompression(quality_range=(int(low), int(high)), p=p), 0.3,
    ),
}  # fmt: skip


def augmented(pipeline: A.Compose, image: np.ndarray, pixels_per_um: float, *key: int) -> tuple[np.ndarray, np.float32]:
    """A crop (crop_px, crop_px) of float32 and its log2 scale, drawn from (seed, epoch, index); see `seeded`."""
    out = seeded(pipeline, *key)(image=image, pixels_per_um=pixels_per_um)
    return np.ascontiguousarray(out["image"], dtype=np.float32), np.float32(math.log2(out["pixels_per_um"]))


def build_pipeline(name: str, *, crop_px: int, fields_of_view_um=None, without: tuple[str, ...] = ()) -> A.Compose:
    """Make a named pipeline.

    Parameters
    ----------
    name : str
        One of `PIPELINES`: ``none`` (a random position only), ``geometric``, ``photometric`` or ``full``.
    crop_px, fields_of_view_um
        As in `ScaleCrop`.
    without : tuple of str
        Transformations, by their names in `TRANSFORMATIONS`, to leave out.

    Returns
    -------
    albumentations.Compose
        Called with ``image`` (H, W) float32 in 0 to 1 and ``pixels_per_um``; gives both of the crop.

    Raises
    ------
    ValueError
        For an unknown name; for a photometric transformation that could change the scale without saying so.
    """
    for given, known in ((name, PIPELINES), *((t, TRANSFORMATIONS) for t in without)):
        if given not in known:
            raise ValueError(f"unknown augmentation {given!r}; take one of {', '.join(known)}")
    used = {n: t for n, t in TRANSFORMATIONS.items() if t.kind in PIPELINES[name] and n not in without}
    drawn = {n: t.drawn for n, t in used.items() if t.kind == "geometric"}
    changes = [t.make(*t.drawn, t.probability) for t in used.values() if t.kind == "photometric"]
    for change in changes:
        # The only kind of albumentations' transforms that moves no pixels.
        if not isinstance(change, A.ImageOnlyTransform):
            raise ValueError(f"{type(change).__name__} may change the scale without updating pixels_per_um")
    return A.Compose([ScaleCrop(crop_px, fields_of_view_um, drawn), *changes])


def seeded(pipeline: A.Compose, seed: int, epoch: int, index: int) -> A.Compose:
    """Set a pipeline's randomness from (seed, epoch, index), the same in every process.

    albumentations gives every transform of a pipeline the same seed, and with it the same first draw: a crop with
    strong contrast would always have a strong gamma. Here each transform gets its own.
    """
    children = np.random.SeedSequence([seed, epoch, index]).generate_state(len(pipeline.transforms) + 1)
    pipeline.set_random_seed(int(children[0]))
    for transform, child in zip(pipeline.transforms, children[1:], strict=True):
        transform.set_random_seed(int(child))
    return pipeline


def crop_at(image: np.ndarray, pixels_per_um: float, centre_xy, side_px: float, crop_px: int, strengths, seed: int = 0):
    """Cut one crop with given strengths of the transformations: what sliders, tests and figures use.

    Parameters
    ----------
    image : array (H, W) of float32
    pixels_per_um : float
    centre_xy : (float, float)
        In pixels of the image.
    side_px : float
        Side of the crop in pixels of the image, before the zoom.
    crop_px : int
    strengths : mapping of str to float
        Names in `TRANSFORMATIONS`; those left out are neutral.
    seed : int
        Of noise and of the direction of shading.

    Returns
    -------
    crop : array (crop_px, crop_px) of float32
    crop_pixels_per_um : float
    """
    warp = geometry(pixels_per_um, side_px, crop_px, strengths)
    crop, rng = warp_crop(image, centre_xy=centre_xy, **warp), np.random.default_rng(seed)
    for name, transformation in TRANSFORMATIONS.items():
        crop = transformation.apply(crop, strengths.get(name, transformation.neutral), rng)
    return np.clip(crop, 0, 1), warp["target_pixels_per_um"]
