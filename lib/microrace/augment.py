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
PIPELINES = {
    "none": (),
    "geometric": ("geometric",),
    "photometric": ("photometric",),
    "full": ("geometric", "photometric"),
}
# Smallest share of an image's short side that a crop without physical fields of view shows.
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
    max_fields : int
        As in `scale.feasible_fields_of_view_um`.
    rotation_range : (float, float)
        Angle in degrees.
    mirror_range : (int, int)
        (0, 1) mirrors every other crop, (0, 0) none.
    zoom_range : (float, float)
        Factor on the field of view.
    """

    def __init__(
        self,
        crop_px: int,
        fields_of_view_um=None,
        max_fields: int = 0,
        rotation_range: tuple[float, float] = (0.0, 0.0),
        mirror_range: tuple[int, int] = (0, 0),
        zoom_range: tuple[float, float] = (1.0, 1.0),
        p: float = 1.0,
    ):
        super().__init__(p=p)
        self.crop_px = crop_px
        self.fields_of_view_um = fields_of_view_um
        self.max_fields = max_fields
        self.rotation_range = rotation_range
        self.mirror_range = mirror_range
        self.zoom_range = zoom_range

    @property
    def targets_as_params(self) -> list[str]:
        """The scale decides the crop."""
        return ["pixels_per_um"]

    @property
    def targets(self) -> dict:
        """Image and scale change together."""
        return {"image": self.apply, "pixels_per_um": self.apply_to_pixels_per_um}

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        """Draw field of view, position, rotation and mirror."""
        height, width = params["shape"][:2]
        pixels_per_um, short = float(data["pixels_per_um"]), min(height, width)
        draw = self.py_random
        if self.fields_of_view_um is None:
            side_px = short * math.exp(draw.uniform(math.log(SMALLEST_SHARE), 0.0))
        else:
            feasible = feasible_fields_of_view_um(
                (height, width), pixels_per_um, self.fields_of_view_um, self.crop_px, max_fields=self.max_fields
            )
            zoom = math.exp(draw.uniform(*(math.log(z) for z in self.zoom_range)))
            side_px = min(draw.choice(feasible) * zoom * pixels_per_um, short)
        # The crop's upright square lies inside the image; corners of a turned one may reach over the edge.
        half = side_px / 2
        return {
            "centre_xy": (draw.uniform(half, width - half) - 0.5, draw.uniform(half, height - half) - 0.5),
            "rotation_deg": draw.uniform(*self.rotation_range),
            "mirror": bool(draw.randint(*self.mirror_range)),
            "source_pixels_per_um": pixels_per_um,
            "crop_pixels_per_um": pixels_per_um * self.crop_px / side_px,
        }

    def apply(self, img, centre_xy, rotation_deg, mirror, source_pixels_per_um, crop_pixels_per_um, **params):
        """The one warp."""
        return warp_crop(
            img,
            pixels_per_um=source_pixels_per_um,
            target_pixels_per_um=crop_pixels_per_um,
            centre_xy=centre_xy,
            rotation_deg=rotation_deg,
            mirror=mirror,
            size_px=self.crop_px,
        )

    def apply_to_pixels_per_um(self, pixels_per_um, crop_pixels_per_um, **params):
        """The crop's own scale."""
        return crop_pixels_per_um


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
        return img + np.float32(slope_x) * x + np.float32(slope_y) * y + np.float32(bowl) * (x**2 + y**2)


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
        Photometric ones: the albumentations transform that draws its strength from (low, high).
    probability : float
        How often a pipeline applies a photometric one.
    """

    label: str
    kind: str
    neutral: float
    drawn: tuple[float, float]
    shown: float
    slider: tuple[float, float, float]
    make: Callable[[float, float], A.ImageOnlyTransform] | None = None
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
        transform = self.make(value, value)
        transform.p = 1.0
        transform.set_random_seed(int(rng.integers(2**31)))
        return transform(image=crop)["image"]


# In the order in which they are applied: that of the light's path from the specimen to the file.
TRANSFORMATIONS = {
    "rotation": Transformation("rotation (°)", "geometric", 0.0, (0.0, 360.0), 30.0, (0.0, 360.0, 1.0)),
    "mirror": Transformation("mirror", "geometric", 0, (0, 1), 1, (0, 1, 1)),
    "zoom": Transformation("field of view (times)", "geometric", 1.0, (0.8, 1.25), 1.25, (0.5, 2.0, 0.05)),
    "shading": Transformation(
        "shading (grey values)", "photometric", 0.0, (0.0, 0.15), 0.15, (0.0, 0.5, 0.01),
        lambda low, high: Shading((low, high)), 0.5,
    ),
    "defocus": Transformation(
        "defocus (px)", "photometric", 0.0, (0.3, 1.2), 1.2, (0.0, 6.0, 0.1),
        lambda low, high: A.GaussianBlur(sigma_limit=(low, high), blur_limit=0), 0.4,
    ),
    "contrast": Transformation(
        "contrast (times)", "photometric", 1.0, (0.6, 1.5), 1.4, (0.2, 3.0, 0.05),
        lambda low, high: A.RandomBrightnessContrast(brightness_limit=(0, 0), contrast_limit=(low - 1, high - 1)), 0.8,
    ),
    "brightness": Transformation(
        "brightness (grey values)", "photometric", 0.0, (-0.15, 0.15), -0.15, (-0.5, 0.5, 0.01),
        lambda low, high: A.RandomBrightnessContrast(brightness_limit=(low, high), contrast_limit=(0, 0)), 0.8,
    ),
    "gamma": Transformation(
        "gamma", "photometric", 1.0, (0.6, 1.6), 1.4, (0.3, 3.0, 0.05),
        lambda low, high: A.RandomGamma(gamma_limit=(100 * low, 100 * high)), 0.5,
    ),
    "noise": Transformation(
        "noise (grey values)", "photometric", 0.0, (0.0, 0.06), 0.06, (0.0, 0.4, 0.01),
        lambda low, high: A.GaussNoise(std_range=(low, high)), 0.8,
    ),
    "jpeg": Transformation(
        "JPEG quality", "photometric", 100, (40, 95), 30, (5, 100, 1),
        lambda low, high: A.ImageCompression(quality_range=(int(low), int(high))), 0.3,
    ),
}  # fmt: skip


def build_pipeline(
    name: str, *, crop_px: int, fields_of_view_um=None, max_fields: int = 0, without: tuple[str, ...] = ()
) -> A.Compose:
    """Make a named pipeline.

    Parameters
    ----------
    name : str
        One of `PIPELINES`: ``none`` (a random position only), ``geometric``, ``photometric`` or ``full``.
    crop_px, fields_of_view_um, max_fields
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
    ranges = {f"{n}_range": t.drawn for n, t in used.items() if t.kind == "geometric"}
    transforms = [ScaleCrop(crop_px, fields_of_view_um, max_fields, **ranges)]
    for n, t in used.items():
        if t.kind == "photometric":
            transform = t.make(*t.drawn)
            # albumentations' transforms of grey values alone; all others move pixels.
            if not isinstance(transform, A.ImageOnlyTransform):
                raise ValueError(f"{n}: {type(transform).__name__} may change the scale without updating pixels_per_um")
            transform.p = t.probability
            transforms.append(transform)
    return A.Compose(transforms)


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


def crop_at(
    image: np.ndarray,
    pixels_per_um: float,
    *,
    centre_xy: tuple[float, float],
    side_px: float,
    crop_px: int,
    strengths: Mapping[str, float],
    seed: int = 0,
) -> tuple[np.ndarray, float]:
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
    values = {name: strengths.get(name, t.neutral) for name, t in TRANSFORMATIONS.items()}
    target = pixels_per_um * crop_px / (side_px * values["zoom"])
    crop = warp_crop(
        image,
        pixels_per_um=pixels_per_um,
        target_pixels_per_um=target,
        centre_xy=centre_xy,
        size_px=crop_px,
        rotation_deg=values["rotation"],
        mirror=bool(values["mirror"]),
    )
    rng = np.random.default_rng(seed)
    for name, transformation in TRANSFORMATIONS.items():
        crop = transformation.apply(crop, values[name], rng)
    return np.clip(crop, 0, 1), target


def explain(image: np.ndarray, pixels_per_um: float, fields_of_view_um, *, crop_px: int = 160, seed: int = 0):
    """What the transformations do to one image, one after the other.

    Parameters
    ----------
    image : array (H, W) of float32
    pixels_per_um : float
    fields_of_view_um : sequence of float
    crop_px, seed : int

    Returns
    -------
    steps : list of (title, array, pixels_per_um)
        The whole image, a crop of it, then the crop with each transformation on top of the last.
    boxes : list of (corners (4, 2) in pixels, label)
        The fields of view that the image can supply, the smallest turned as the crops are.
    """
    height, width = image.shape
    fields = feasible_fields_of_view_um(image.shape, pixels_per_um, fields_of_view_um, crop_px, 2.0)
    centre = ((width - 1) / 2, (height - 1) / 2)
    steps, strengths = [("the image and its fields of view", image, pixels_per_um)], {}
    for title, name in (("cut at a field of view", None), *((t.label, name) for name, t in TRANSFORMATIONS.items())):
        if name:
            strengths[name] = TRANSFORMATIONS[name].shown
            title = f"{title}: {strengths[name]:g}" if name != "mirror" else title
        cut = crop_at(
            image, pixels_per_um, centre_xy=centre, side_px=fields[0] * pixels_per_um, crop_px=crop_px,
            strengths=strengths, seed=seed,
        )  # fmt: skip
        steps.append((title, *cut))
    boxes = []
    for field_um in [*fields[1:], fields[0]]:
        angle = math.radians(strengths["rotation"] if field_um == fields[0] else 0.0)
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        half = field_um * pixels_per_um / 2
        corners = centre + half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ turn.T
        boxes.append((corners, f"{field_um:.3g} µm"))
    return steps, boxes
