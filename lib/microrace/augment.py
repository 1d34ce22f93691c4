"""Scale-aware transforms and the named pipelines: what a metallurgist knows does not change a microstructure.

Each pipeline cuts one crop in a single warp (position, rotation, mirror, zoom and scale together, see
`scale.warp_crop`) and then changes its grey values. ``pixels_per_um`` goes in with the image and comes out as the
crop's own scale. What is done to grey values is done *after* the warp and in pixels of the crop, so noise and
focus look alike at every scale: interpolation halves or keeps noise depending on the zoom, and a network would
read the scale off it.
"""

from __future__ import annotations

import math
import os

# albumentations asks the network for news when imported, unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402

from microrace.places import feasible_fields_of_view_um  # noqa: E402
from microrace.scale import warp_crop  # noqa: E402

# Threads inside OpenCV only fight with the processes that make crops.
cv2.setNumThreads(1)

PIPELINES = ("none", "geometric", "photometric", "full")
# Smallest share of an image's short side that a crop without scale handling shows.
SMALLEST_SHARE = 0.45


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
    rotate, mirror : bool
        Whether to turn by any angle and mirror at random.
    zoom_range : (float, float)
        Random factor on the field of view.
    max_upsampling : float
        As in `feasible_fields_of_view_um`.
    """

    def __init__(
        self,
        crop_px: int = 112,
        fields_of_view_um=None,
        rotate: bool = True,
        mirror: bool = True,
        zoom_range: tuple[float, float] = (0.8, 1.25),
        max_upsampling: float = 1.5,
        max_fields: int = 0,
        p: float = 1.0,
    ):
        super().__init__(p=p)
        self.crop_px = crop_px
        self.fields_of_view_um = fields_of_view_um
        self.rotate = rotate
        self.mirror = mirror
        self.zoom_range = zoom_range
        self.max_upsampling = max_upsampling
        self.max_fields = max_fields

    @property
    def targets_as_params(self) -> list[str]:
        """The scale decides the crop."""
        return ["pixels_per_um"]

    @property
    def targets(self) -> dict:
        """Image and scale change together."""
        return {"image": self.apply, "pixels_per_um": self.apply_to_pixels_per_um}

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        """Draw field of view, place, rotation and mirror."""
        height, width = params["shape"][:2]
        pixels_per_um, short = float(data["pixels_per_um"]), min(height, width)
        draw = self.py_random
        if self.fields_of_view_um is None:
            side_px = short * math.exp(draw.uniform(math.log(SMALLEST_SHARE), 0.0))
        else:
            feasible = feasible_fields_of_view_um(
                (height, width),
                pixels_per_um,
                self.fields_of_view_um,
                self.crop_px,
                self.max_upsampling,
                self.max_fields,
            )
            zoom = math.exp(draw.uniform(*(math.log(z) for z in self.zoom_range)))
            side_px = min(draw.choice(feasible) * zoom * pixels_per_um, short)
        # The crop's upright square lies inside the image; corners of a turned one may reach over the edge.
        half = side_px / 2
        return {
            "centre_xy": (draw.uniform(half, width - half) - 0.5, draw.uniform(half, height - half) - 0.5),
            "rotation_deg": draw.uniform(0, 360) if self.rotate else 0.0,
            "mirrored": self.mirror and draw.random() < 0.5,
            "source_pixels_per_um": pixels_per_um,
            "crop_pixels_per_um": pixels_per_um * self.crop_px / side_px,
        }

    def apply(self, img, centre_xy, rotation_deg, mirrored, source_pixels_per_um, crop_pixels_per_um, **params):
        """The one warp."""
        return warp_crop(
            img,
            pixels_per_um=source_pixels_per_um,
            target_pixels_per_um=crop_pixels_per_um,
            centre_xy=centre_xy,
            rotation_deg=rotation_deg,
            mirror=mirrored,
            size_px=self.crop_px,
        )

    def apply_to_pixels_per_um(self, pixels_per_um, crop_pixels_per_um, **params):
        """The crop's own scale."""
        return crop_pixels_per_um


def change_contrast(crop: np.ndarray, contrast: float, brightness: float) -> np.ndarray:
    """Stretch grey values about their mean by ``contrast`` and shift them by ``brightness``."""
    mean = crop.mean()
    return (crop - mean) * contrast + mean + brightness


def change_gamma(crop: np.ndarray, gamma: float) -> np.ndarray:
    """Raise grey values, clipped to 0 to 1, to the power ``gamma``."""
    return np.clip(crop, 0.0, 1.0) ** np.float32(gamma)


def defocus(crop: np.ndarray, sigma_px: float) -> np.ndarray:
    """Blur by a Gaussian of ``sigma_px`` pixels of the crop."""
    return cv2.GaussianBlur(crop, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)


def add_noise(crop: np.ndarray, std: float, generator: np.random.Generator) -> np.ndarray:
    """Add white Gaussian noise of standard deviation ``std`` (grey range 0 to 1)."""
    return crop + std * generator.standard_normal(crop.shape, dtype=np.float32)


def add_shading(crop: np.ndarray, slope_x: float, slope_y: float, bowl: float) -> np.ndarray:
    """Add uneven light: a slope along x and y and a bowl, in grey values from the centre to the edge."""
    axis = np.linspace(-1, 1, crop.shape[0], dtype=np.float32)
    field = slope_x * axis[None, :] + slope_y * axis[:, None]
    return crop + field + np.float32(bowl) * (axis[None, :] ** 2 + axis[:, None] ** 2)


class Contrast(A.ImageOnlyTransform):
    """Another setting of the contrast and brightness knobs."""

    def __init__(self, contrast_range=(0.6, 1.5), brightness_range=(-0.15, 0.15), p: float = 0.8):
        super().__init__(p=p)
        self.contrast_range = contrast_range
        self.brightness_range = brightness_range

    def get_params(self) -> dict:
        """Draw both knobs."""
        return {
            "contrast": self.py_random.uniform(*self.contrast_range),
            "brightness": self.py_random.uniform(*self.brightness_range),
        }

    def apply(self, img, contrast, brightness, **params):
        """See `change_contrast`."""
        return change_contrast(img, contrast, brightness)


class Gamma(A.ImageOnlyTransform):
    """Another response curve of camera or detector."""

    def __init__(self, gamma_range=(0.6, 1.6), p: float = 0.5):
        super().__init__(p=p)
        self.gamma_range = gamma_range

    def get_params(self) -> dict:
        """Draw the exponent, evenly in its logarithm."""
        return {"gamma": math.exp(self.py_random.uniform(*(math.log(g) for g in self.gamma_range)))}

    def apply(self, img, gamma, **params):
        """See `change_gamma`."""
        return change_gamma(img, gamma)


class Defocus(A.ImageOnlyTransform):
    """A slightly wrong focus."""

    def __init__(self, sigma_px_range=(0.3, 1.2), p: float = 0.4):
        super().__init__(p=p)
        self.sigma_px_range = sigma_px_range

    def get_params(self) -> dict:
        """Draw the blur."""
        return {"sigma_px": self.py_random.uniform(*self.sigma_px_range)}

    def apply(self, img, sigma_px, **params):
        """See `defocus`."""
        return defocus(img, sigma_px)


class Shading(A.ImageOnlyTransform):
    """Uneven illumination, etch or charging across the field."""

    def __init__(self, amplitude_range=(-0.12, 0.12), p: float = 0.5):
        super().__init__(p=p)
        self.amplitude_range = amplitude_range

    def get_params(self) -> dict:
        """Draw the three coefficients."""
        return {name: self.py_random.uniform(*self.amplitude_range) for name in ("slope_x", "slope_y", "bowl")}

    def apply(self, img, slope_x, slope_y, bowl, **params):
        """See `add_shading`."""
        return add_shading(img, slope_x, slope_y, bowl)


class Noise(A.ImageOnlyTransform):
    """Detector noise, white on the crop's own pixels."""

    def __init__(self, std_range=(0.0, 0.06), p: float = 0.8):
        super().__init__(p=p)
        self.std_range = std_range

    def get_params(self) -> dict:
        """Draw its strength."""
        return {"std": self.py_random.uniform(*self.std_range)}

    def apply(self, img, std, **params):
        """See `add_noise`."""
        return add_noise(img, std, self.random_generator)


GREY_TRANSFORMS = (Contrast, Gamma, Defocus, Shading, Noise)


def compose(transforms: list, seed: int | None = None) -> A.Compose:
    """Make a pipeline in which image and ``pixels_per_um`` cannot come to disagree.

    Exactly one `ScaleCrop`, first; then only transforms that leave the geometry alone.

    Raises
    ------
    ValueError
        Naming the first transform that would change the scale without saying so.
    """
    if not transforms or not isinstance(transforms[0], ScaleCrop):
        raise ValueError("a pipeline starts with ScaleCrop, which brings crops to their scale")
    for transform in transforms[1:]:
        if not isinstance(transform, GREY_TRANSFORMS):
            raise ValueError(
                f"{type(transform).__name__} may change the scale without updating pixels_per_um; after ScaleCrop "
                f"only {', '.join(t.__name__ for t in GREY_TRANSFORMS)} are allowed"
            )
    return A.Compose(transforms, seed=seed)


def build_pipeline(
    name: str,
    *,
    crop_px: int = 112,
    fields_of_view_um=None,
    zoom_range: tuple[float, float] = (0.8, 1.25),
    max_upsampling: float = 1.5,
    max_fields: int = 0,
    without: tuple[str, ...] = (),
    seed: int | None = None,
) -> A.Compose:
    """Make a named pipeline.

    Parameters
    ----------
    name : str
        ``none`` (a random place only), ``geometric`` (and rotation, mirror, zoom), ``photometric`` (a random
        place, contrast, gamma, defocus, shading, noise) or ``full`` (all).
    crop_px, fields_of_view_um, zoom_range, max_upsampling, max_fields
        As in `ScaleCrop`.
    without : tuple of str
        Transformations to leave out of the named set: rotation, mirror, zoom, contrast, gamma, defocus, shading,
        noise.
    seed : int, optional

    Returns
    -------
    albumentations.Compose
        Called with ``image`` (H, W) float32 in 0 to 1 and ``pixels_per_um``; gives both of the crop.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name not in PIPELINES:
        raise ValueError(f"unknown pipeline {name!r}; take one of {', '.join(PIPELINES)}")
    known = {"rotation", "mirror", "zoom", *(t.__name__.lower() for t in GREY_TRANSFORMS)}
    if unknown := set(without) - known:
        raise ValueError(f"unknown transformation {sorted(unknown)[0]!r}; take one of {', '.join(sorted(known))}")
    geometric = name in ("geometric", "full")
    crop = ScaleCrop(
        crop_px=crop_px,
        fields_of_view_um=fields_of_view_um,
        rotate=geometric and "rotation" not in without,
        mirror=geometric and "mirror" not in without,
        zoom_range=zoom_range if geometric and "zoom" not in without else (1.0, 1.0),
        max_upsampling=max_upsampling,
        max_fields=max_fields,
    )
    grey = [t() for t in GREY_TRANSFORMS if t.__name__.lower() not in without] if name in ("photometric", "full") else []
    return compose([crop, *grey], seed)


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


def explain(image: np.ndarray, pixels_per_um: float, fields_of_view_um, *, crop_px: int = 160, seed: int = 0):
    """What the pipeline ``full`` does to one image, step by step.

    Parameters
    ----------
    image : array (H, W) of float32
    pixels_per_um : float
    fields_of_view_um : sequence of float
    crop_px, seed : int

    Returns
    -------
    steps : list of (title, array, pixels_per_um)
        The whole image, a crop at each step of the geometry, then each change of grey values on top of the last.
    boxes : list of (corners (4, 2) in pixels, label)
        The fields of view that the image can supply, the last one turned as the crops are.
    """
    rng = np.random.default_rng(seed)
    height, width = image.shape
    fields = feasible_fields_of_view_um(image.shape, pixels_per_um, fields_of_view_um, crop_px, 2.0)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])

    def cut(field_um, **how):
        target = crop_px / field_um
        crop = warp_crop(
            image,
            pixels_per_um=pixels_per_um,
            target_pixels_per_um=target,
            centre_xy=tuple(centre),
            size_px=crop_px,
            **how,
        )
        return crop, target

    def corners(field_um, rotation_deg=0.0):
        half = field_um * pixels_per_um / 2
        angle = math.radians(rotation_deg)
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        return centre + half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ turn.T

    field_um, rotation_deg = fields[0], 30.0
    steps = [("the image and its fields of view", image, pixels_per_um)]
    steps.append(("cut at a field of view", *cut(field_um)))
    steps.append(("turned", *cut(field_um, rotation_deg=rotation_deg)))
    steps.append(("mirrored", *cut(field_um, rotation_deg=rotation_deg, mirror=True)))
    zoomed = field_um * 1.25
    crop, target = cut(zoomed, rotation_deg=rotation_deg, mirror=True)
    steps.append(("zoomed out by 1.25", crop, target))
    for title, change in (
        ("contrast", lambda c: change_contrast(c, 1.4, 0.0)),
        ("gamma", lambda c: change_gamma(c, 1.4)),
        ("defocus", lambda c: defocus(c, 1.2)),
        ("shading", lambda c: add_shading(c, 0.12, -0.08, -0.06)),
        ("noise", lambda c: add_noise(c, 0.06, rng)),
    ):
        crop = change(crop)
        steps.append((title, np.clip(crop, 0, 1), target))
    boxes = [(corners(f), f"{f:.3g} µm") for f in fields[1:]]
    boxes.append((corners(field_um, rotation_deg), f"{field_um:.3g} µm"))
    return steps, boxes
