"""Times of the machine's parts, each beside its peer in the same run: ``python tests/bench.py``, or ``make bench``."""

import statistics
import timeit

import albumentations as A
import cv2
import numpy as np

from microrace.network import build_backbone, features_of, one_thread
from microrace.scale import cut_crops, warp_crop
from microrace.training import CropFeatures, Ensemble, TrainingConfig


def milliseconds(call, repeats: int = 30) -> float:
    """Median time of a call, after one that does not count."""
    call()
    return 1e3 * statistics.median(timeit.repeat(call, number=1, repeat=repeats))


def main() -> None:
    """Print a line a part."""
    config, rng, pixels_per_um = TrainingConfig(), np.random.default_rng(0), 10.0
    image = cv2.GaussianBlur(rng.random((480, 640), dtype=np.float32), (0, 0), 2)
    where = {"pixels_per_um": 1.0, "target_pixels_per_um": 0.4, "centre_xy": (320, 240), "size_px": config.crop_px}
    # The usual chain of resizing, turning and cutting one after the other.
    steps = [A.RandomScale((-0.6, -0.6), p=1), A.Rotate(p=1), A.HorizontalFlip(p=0.5), A.RandomCrop(128, 128)]
    chain, pipeline = A.Compose(steps), config.make_pipeline()
    positions = config.crop_positions(image.shape, pixels_per_um)
    backbone = build_backbone().eval()
    crops, _ = cut_crops(image, pixels_per_um, positions, config.crop_px)

    index = np.repeat(np.arange(100), 20)
    values = rng.standard_normal((len(index), backbone.n_features)).astype(np.float32)
    features = CropFeatures(values, rng.uniform(0, 6, len(index)).astype(np.float32), index)
    parts = {
        "a crop turned and scaled, one warp": lambda: warp_crop(image, rotation_deg=30, **where),
        "the same by RandomScale, Rotate, Flip, RandomCrop": lambda: chain(image=image),
        "a crop by the pipeline 'full'": lambda: pipeline(image=image, pixels_per_um=pixels_per_um),
        f"the {len(crops)} crops by which an image is judged": lambda: cut_crops(image, pixels_per_um, positions, 128),
        "their features": lambda: features_of(backbone, crops, "cpu"),
        "an ensemble of three heads on 100 images": lambda: Ensemble.fit(features, index[::20] % 5, index[::20], config),
    }
    with one_thread():
        for name, call in parts.items():
            print(f"{name:52}{milliseconds(call, 3 if 'heads' in name else 30):10.2f} ms", flush=True)


if __name__ == "__main__":
    main()
