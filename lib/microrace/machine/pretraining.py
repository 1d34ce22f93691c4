"""Procedural pretraining: teach a backbone the elements of texture before it sees its first micrograph.

No ImageNet weights come with this project. Instead a backbone is trained on textures made at random from the
elements that microstructures consist of: lamellae in colonies, particles, boundary networks, plates, laths and
noise, of random size, spacing, contrast and mixture. It learns to tell which elements are there and how large,
and to recognise two views of one texture across position, rotation, scale, contrast and noise. No recipe of the
rendered quizzes is among the mixtures, and no micrograph is read.

``python -m microrace.machine.pretraining --out lib/microrace/pretrained/residual.pt`` makes the weights that are shipped.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from pytorch_metric_learning.losses import SupConLoss
from scipy.spatial import cKDTree
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from microrace.machine import augment
from microrace.machine.models import EmbeddingNet

CANVAS_PX = 448
# What the backbone learns to name: is the element there, and how large is it (log2 of pixels in the crop)?
ELEMENTS = ("lamellae", "particles", "network", "plates", "laths", "grains")
SIZES = ("lamella spacing", "particle diameter", "cell diameter", "plate width", "lath width", "grain diameter")


def smooth_noise(rng, correlation_px: float) -> np.ndarray:
    """Gaussian noise of unit variance with the given correlation length, (CANVAS_PX, CANVAS_PX) float32."""
    n = max(4, min(CANVAS_PX, int(2.5 * CANVAS_PX / correlation_px)))
    field = cv2.resize(rng.standard_normal((n, n)).astype(np.float32), (CANVAS_PX, CANVAS_PX), None, 0, 0, 2)
    return (field - field.mean()) / (field.std() + 1e-6)


def cells(rng, diameter_px: float, waviness: float):
    """Voronoi cells of a random point set: index of the cell and distance to its boundary, in pixels.

    The coordinates are bent by smooth noise of relative strength ``waviness``, so boundaries curve.
    """
    step = 2
    axis = np.arange(0, CANVAS_PX, step, dtype=np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    bend = waviness * diameter_px
    x = x + bend * smooth_noise(rng, diameter_px)[::step, ::step]
    y = y + bend * smooth_noise(rng, diameter_px)[::step, ::step]
    margin = diameter_px
    n = max(3, int(((CANVAS_PX + 2 * margin) / diameter_px) ** 2))
    points = rng.uniform(-margin, CANVAS_PX + margin, (n, 2))
    distance, index = cKDTree(points).query(np.stack([y, x], -1).reshape(-1, 2), k=2, eps=0.2, workers=1)
    shape = y.shape
    # Distance to the bisector of the two nearest points; exact where the boundary is straight.
    apart = np.linalg.norm(points[index[:, 0]] - points[index[:, 1]], axis=1)
    boundary = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * apart + 1e-6)
    boundary = cv2.resize(boundary.reshape(shape).astype(np.float32), (CANVAS_PX, CANVAS_PX))
    index = cv2.resize(index[:, 0].reshape(shape).astype(np.float32), (CANVAS_PX, CANVAS_PX), None, 0, 0, 0)
    return index.astype(int), boundary


def lamellae(rng, spacing_px: float) -> np.ndarray:
    """Alternating lamellae in colonies of random orientation and apparent spacing, wavy and partly broken up."""
    index, _ = cells(rng, spacing_px * rng.uniform(6, 40), rng.uniform(0, 0.3))
    n = index.max() + 1
    angle, stretch = rng.uniform(0, np.pi, n), np.exp(np.abs(rng.normal(0, rng.uniform(0, 0.4), n)))
    y, x = np.mgrid[:CANVAS_PX, :CANVAS_PX].astype(np.float32)
    bend = spacing_px * rng.uniform(0.2, 1.5) * smooth_noise(rng, spacing_px * rng.uniform(4, 15))
    across = x * np.cos(angle)[index] + y * np.sin(angle)[index] + bend
    wave = np.cos(2 * np.pi * across / (spacing_px * stretch[index]))
    if rng.random() < 0.5:
        # Lamellae that coarsen break into rods and beads.
        wave = wave + rng.uniform(0.3, 1.2) * smooth_noise(rng, spacing_px * rng.uniform(0.7, 2))
    return 1 / (1 + np.exp(-rng.uniform(2, 8) * (wave - rng.uniform(-0.3, 0.6))))


def particles(rng, diameter_px: float) -> np.ndarray:
    """Particles of lognormal size, round to elongated, drawn with soft edges where they do not overlap much."""
    canvas = np.zeros((CANVAS_PX, CANVAS_PX), np.float32)
    area_share = rng.uniform(0.03, 0.3)
    n = min(4000, max(3, int(area_share * CANVAS_PX**2 / (0.785 * diameter_px**2))))
    spread, elongation = rng.uniform(0.1, 0.6), rng.uniform(0, 0.6)
    angle = rng.uniform(0, 180) + rng.normal(0, rng.choice([10, 180]), n)
    size = diameter_px * np.exp(spread * rng.standard_normal(n))
    aspect = np.exp(np.abs(rng.normal(0, elongation, n)))
    xy = rng.uniform(0, CANVAS_PX, (n, 2))
    if rng.random() < 0.3:
        # Particles leave some regions free.
        keep = smooth_noise(rng, diameter_px * rng.uniform(8, 30))[xy[:, 1].astype(int), xy[:, 0].astype(int)] > -0.3
        xy, size, aspect, angle = xy[keep], size[keep], aspect[keep], angle[keep]
    shift = 16
    for (px, py), s, a, t in zip(xy, size, aspect, angle, strict=True):
        axes = (max(1, int(shift * s / 2 * np.sqrt(a))), max(1, int(shift * s / 2 / np.sqrt(a))))
        cv2.ellipse(canvas, (int(px * shift), int(py * shift)), axes, t, 0, 360, rng.uniform(0.6, 1), -1, 16, 4)
    return canvas


def network(rng, diameter_px: float) -> np.ndarray:
    """A film on cell boundaries, of uneven thickness and sometimes broken."""
    _, boundary = cells(rng, diameter_px, rng.uniform(0.05, 0.35))
    thickness = diameter_px * rng.uniform(0.02, 0.12) + 0.7
    thickness = thickness * np.exp(rng.uniform(0, 0.7) * smooth_noise(rng, diameter_px * 0.7))
    film = np.clip((thickness - boundary) + 0.5, 0, 1)
    if rng.random() < 0.4:
        film = film * (smooth_noise(rng, diameter_px * 0.5) > rng.uniform(-1.5, 0))
    return film.astype(np.float32)


def plates(rng, width_px: float) -> np.ndarray:
    """Long straight plates along a few directions, in groups or alone."""
    canvas = np.zeros((CANVAS_PX, CANVAS_PX), np.float32)
    directions = rng.uniform(0, np.pi, rng.integers(1, 5))
    n = int(rng.integers(3, 50))
    centre = rng.uniform(0, CANVAS_PX, (rng.integers(1, 6), 2))
    for _ in range(n):
        a = rng.choice(directions) + rng.normal(0, 0.05)
        length = width_px * np.exp(rng.uniform(np.log(10), np.log(80)))
        c = centre[rng.integers(len(centre))] + rng.normal(0, CANVAS_PX / rng.uniform(4, 12), 2)
        d = np.array([np.cos(a), np.sin(a)]) * length / 2
        e = np.array([-np.sin(a), np.cos(a)]) * width_px * rng.uniform(0.3, 0.8)
        corners = np.array([c - d, c + e, c + d, c - e])
        cv2.fillPoly(canvas, [np.round(corners * 16).astype(np.int32)], rng.uniform(0.5, 1), 16, 4)
    return canvas


def laths(rng, width_px: float) -> np.ndarray:
    """Parallel laths of random grey, in packets of random orientation."""
    index, _ = cells(rng, width_px * rng.uniform(8, 40), rng.uniform(0.05, 0.3))
    angle = rng.uniform(0, np.pi, index.max() + 1)
    y, x = np.mgrid[:CANVAS_PX, :CANVAS_PX].astype(np.float32)
    across = x * np.cos(angle)[index] + y * np.sin(angle)[index]
    along = y * np.cos(angle)[index] - x * np.sin(angle)[index]
    across = across + width_px * rng.uniform(0.1, 0.6) * smooth_noise(rng, width_px * 6)
    lath = np.floor(across / width_px).astype(np.int64)
    piece = np.floor(along / (width_px * rng.uniform(5, 25)) + (lath * 0.618) % 1).astype(np.int64)
    grey = rng.random(65536).astype(np.float32)[(lath * 7919 + piece * 104729 + index * 1299709) % 65536]
    edge = np.abs(across / width_px - lath - 0.5) > 0.5 - rng.uniform(0.05, 0.2)
    return np.clip(grey * rng.uniform(0.3, 1) + edge * rng.uniform(-0.5, 0.7), 0, 1)


def grains(rng, diameter_px: float) -> np.ndarray:
    """Equiaxed grains of random grey, with or without a line between them."""
    index, boundary = cells(rng, diameter_px, rng.uniform(0, 0.15))
    grey = rng.random(index.max() + 1).astype(np.float32)[index]
    line = np.clip(rng.uniform(0.7, 2.5) - boundary, 0, 1)
    return np.clip(grey * rng.uniform(0, 1) + line * rng.choice([-1, 1]) * rng.uniform(0.3, 1), 0, 1)


def texture(seed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One random texture.

    Parameters
    ----------
    seed : int or sequence of int

    Returns
    -------
    image : array (CANVAS_PX, CANVAS_PX) of uint8
    present : array (len(ELEMENTS),) of float32
        1 where the element is in the mixture.
    log2_size_px : array (len(ELEMENTS),) of float32
        Its size on the canvas; 0 where absent.
    """
    rng = np.random.default_rng(seed)
    present, size = np.zeros(len(ELEMENTS), np.float32), np.zeros(len(ELEMENTS), np.float32)

    def element(name, make, low_px, high_px):
        i = ELEMENTS.index(name)
        size_px = np.exp(rng.uniform(np.log(low_px), np.log(high_px)))
        present[i], size[i] = 1, np.log2(size_px)
        return np.asarray(make(rng, size_px), np.float32)

    grey = np.full((CANVAS_PX, CANVAS_PX), 0.5, np.float32)
    matrix = rng.choice(
        ["lamellae", "particles", "laths", "grains", "plain", "both"], p=[0.28, 0.26, 0.14, 0.1, 0.08, 0.14]
    )
    if matrix in ("lamellae", "both"):
        grey += rng.uniform(0.3, 1) * rng.choice([-1, 1], p=[0.3, 0.7]) * element("lamellae", lamellae, 4, 40)
    if matrix == "both":
        # Two matrices share the canvas in patches.
        patch = np.clip(2 * smooth_noise(rng, CANVAS_PX / rng.uniform(3, 8)) + 0.5 + rng.normal(), 0, 1)
        grey = grey * patch + (1 - patch) * (0.5 + rng.uniform(0.3, 1) * element("particles", particles, 4, 40))
    if matrix == "particles":
        grey += rng.uniform(0.3, 1) * rng.choice([-1, 1], p=[0.25, 0.75]) * element("particles", particles, 3, 45)
    if matrix == "laths":
        grey += rng.uniform(0.3, 1) * element("laths", laths, 4, 30)
    if matrix == "grains":
        grey += rng.uniform(0.3, 1) * element("grains", grains, 20, 250)
    if rng.random() < 0.3:
        film = element("network", network, 25, 350)
        grey = grey * (1 - film) + film * rng.uniform(-0.3, 1.5)
    if rng.random() < 0.3:
        grey += rng.choice([-1, 1], p=[0.3, 0.7]) * rng.uniform(0.3, 1) * element("plates", plates, 2, 14)
    # The microscope: edges that glow, blur, uneven light, grain.
    grey = (grey - grey.mean()) / (grey.std() + 0.05)
    if rng.random() < 0.5:
        soft = cv2.GaussianBlur(grey, (0, 0), rng.uniform(1.5, 5))
        grey = grey + rng.uniform(0.2, 1.2) * np.abs(grey - soft)
    if rng.random() < 0.6:
        grey = cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.4, 1.8))
    for correlation_px, most in ((CANVAS_PX / 2, 0.6), (rng.uniform(8, 60), 0.5), (rng.uniform(1, 4), 0.5)):
        if rng.random() < 0.6:
            grey = grey + rng.uniform(0, most) * smooth_noise(rng, correlation_px)
    grey = grey + rng.uniform(0, 0.35) * rng.standard_normal(grey.shape)
    low, high = np.percentile(grey, [0.3, 99.7])
    return np.clip((grey - low) / (high - low + 1e-6) * 255, 0, 255).astype(np.uint8), present, size


def _texture_chunk(seed_and_range):
    seed, first, last = seed_and_range
    cv2.setNumThreads(1)
    return [texture([seed, i]) for i in range(first, last)]


def make_textures(n: int, seed: int, jobs: int = 2):
    """n textures as arrays: images (n, CANVAS_PX, CANVAS_PX) uint8, present (n, 6), log2_size_px (n, 6)."""
    chunks = [(seed, i, min(i + 25, n)) for i in range(0, n, 25)]
    out = []
    with ProcessPoolExecutor(jobs) as pool:
        for chunk in tqdm(pool.map(_texture_chunk, chunks), total=len(chunks), desc="textures", unit="25"):
            out += chunk
    return tuple(np.stack(part) for part in zip(*out, strict=True))


class TextureViews(Dataset):
    """Views of textures: item i shows texture ``order[i]``, cut, turned, zoomed and spoilt at random."""

    def __init__(self, images, order, crop_px: int, seed: int, epoch: int):
        self.images, self.order, self.seed, self.epoch = images, order, seed, epoch
        # Fields of view in the "um" of a canvas at one pixel per um: from a crop's own size to the whole canvas.
        fields = tuple(crop_px * 2.0 ** (i / 2) for i in range(-1, 5) if crop_px * 2.0 ** (i / 2) <= CANVAS_PX)
        self.pipeline = augment.build_pipeline("full", crop_px=crop_px, fields_of_view_um=fields)

    def __len__(self):
        return len(self.order)

    def __getitem__(self, i):
        augment.seeded(self.pipeline, self.seed, self.epoch, i)
        image = self.images[self.order[i]].astype(np.float32) / 255
        out = self.pipeline(image=image, pixels_per_um=1.0)
        crop = np.ascontiguousarray(out["image"], dtype=np.float32)
        return crop[None], np.float32(np.log2(out["pixels_per_um"])), self.order[i]


def pretrain(
    backbone: str = "residual",
    *,
    n_textures: int = 8000,
    epochs: int = 22,
    views_per_epoch: int = 25600,
    batch_size: int = 128,
    crop_px: int = 128,
    learning_rate: float = 2e-3,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 2,
) -> tuple[nn.Module, list[dict]]:
    """Pretrain a backbone on procedural textures.

    Parameters
    ----------
    backbone : str
        As in `models.build_backbone`.
    n_textures, epochs, views_per_epoch, batch_size, crop_px : int
    learning_rate : float
        Highest rate of AdamW's one cycle.
    seed : int
        Of textures, views and weights.
    device : str
    workers : int
        Processes that make views; the result does not depend on it.

    Returns
    -------
    Module
        The backbone.
    list of dict
        One record an epoch: losses, and on held-out textures the mean accuracy of naming an element and the mean
        absolute error of its size in octaves.
    """
    images, present, size = make_textures(n_textures, seed, max(workers, 1))
    n_held_out = max(64, n_textures // 20)
    torch.manual_seed(seed)
    net = EmbeddingNet(backbone, "", 64, told_scale=False).to(device, memory_format=torch.channels_last)
    heads = nn.Linear(net.backbone.n_features, 2 * len(ELEMENTS)).to(device)
    parameters = [*net.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, learning_rate, weight_decay=1e-2)
    steps = views_per_epoch // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=epochs * steps, pct_start=0.1)
    contrast = SupConLoss(temperature=0.1)
    present, size = torch.from_numpy(present), torch.from_numpy(size)

    def heads_of(batch):
        crops, log2_zoom, index = batch
        crops = crops.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            features = net.features(crops)
            normed = net.norm(features)
            embedded = nn.functional.normalize(net.head(normed).float(), dim=1)
        named, sized = heads(normed.float()).chunk(2, dim=1)
        # A crop at half the canvas's scale shows everything half as large.
        target = size[index].to(device) + log2_zoom.to(device)[:, None]
        return embedded, named, sized * 2 + 3.5, present[index].to(device), target

    history = []
    for epoch in range(epochs):
        started = time.perf_counter()
        rng = np.random.default_rng([seed, epoch])
        order = np.repeat(rng.integers(n_held_out, n_textures, steps * batch_size // 2), 2)
        loader = DataLoader(TextureViews(images, order, crop_px, seed, epoch), batch_size, num_workers=workers)
        net.train()
        sums = np.zeros(3)
        for batch in tqdm(loader, desc=f"epoch {epoch + 1} of {epochs}", unit="step", mininterval=30):
            embedded, named, sized, there, target = heads_of(batch)
            naming = nn.functional.binary_cross_entropy_with_logits(named, there)
            sizing = (nn.functional.smooth_l1_loss(sized, target, reduction="none") * there).sum() / there.sum()
            pairing = contrast(embedded, batch[2].to(device))
            loss = 2 * naming + sizing + pairing
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            sums += [naming.item(), sizing.item(), pairing.item()]
        net.eval()
        with torch.inference_mode():
            views = TextureViews(images, np.arange(n_held_out), crop_px, seed, 10_000)
            parts = [heads_of(b) for b in DataLoader(views, batch_size, num_workers=workers)]
        named, sized, there, target = (torch.cat([p[i] for p in parts]) for i in (1, 2, 3, 4))
        history.append(
            {
                "epoch": epoch + 1,
                **dict(zip(("naming", "sizing", "pairing"), (sums / steps).tolist(), strict=True)),
                "named_right": float(((named > 0) == (there > 0.5)).float().mean()),
                "size_error_octaves": float(((sized - target).abs() * there).sum() / there.sum()),
                "seconds": time.perf_counter() - started,
            }
        )
        print({k: round(v, 3) for k, v in history[-1].items()}, flush=True)
    return net.backbone, history


def main() -> None:
    """Command line: pretrain, and write the weights with their data card beside them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="state dict to write; <out>.json is its data card")
    parser.add_argument("--backbone", default="residual")
    parser.add_argument("--textures", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=22)
    parser.add_argument("--views", type=int, default=25600, help="views in an epoch")
    parser.add_argument("--crop-px", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    backbone, history = pretrain(
        args.backbone,
        n_textures=args.textures,
        epochs=args.epochs,
        views_per_epoch=args.views,
        crop_px=args.crop_px,
        seed=args.seed,
        device=args.device,
        workers=args.workers,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({k: v.detach().cpu().contiguous() for k, v in backbone.state_dict().items()}, args.out)
    card = {
        "what": "backbone weights pretrained on procedural textures; no micrograph was used",
        "command": "python -m microrace.machine.pretraining "
        + " ".join(f"--{k.replace('_', '-')} {v}" for k, v in vars(args).items()),
        "elements": ELEMENTS,
        "sizes": SIZES,
        "history": history,
    }
    args.out.with_suffix(".json").write_text(json.dumps(card, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
