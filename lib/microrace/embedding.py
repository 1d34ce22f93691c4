"""The embedding: a head that takes a crop's features and scale to a point on the unit sphere, trained on triplets."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_metric_learning import losses, miners
from torch import nn

from microrace.backbones import autocast, build_backbone, one_thread, resolve_device, standardise
from microrace.crops import TrainingCrops, draw_images, loader
from microrace.features import CropFeatures
from microrace.progress import track
from microrace.settings import TrainingConfig
from microrace.whole import written_whole


class HalfDropout(nn.Module):
    """Dropout of one half of the values.

    On the processor the mask is cut out of random bytes: torch draws a number for each value, which took a quarter of a
    head's training.
    """

    def forward(self, x):
        if not self.training:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, 0.5)
        # Torch's own generator stays the source, so that an epoch's seed decides here as everywhere.
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        kept = np.unpackbits(np.frombuffer(rng.bytes(-(-x.numel() // 8)), np.uint8), count=x.numel())
        return 2 * x * torch.from_numpy(kept).view_as(x)


class EmbeddingHead(nn.Module):
    """Features of crops and their scale to points on the unit sphere.

    After Larmuseau et al., npj Comput. Mater. 2020 (doi:10.1038/s41524-020-00423-2): a compact embedding in which
    micrographs of one class lie close together. Telling the head the logarithm of the crop's scale, as a few sines and
    cosines, is this study's choice of "taking magnification into account".

    Parameters
    ----------
    n_features : int
    embedding_dim : int
        Dimensions of the sphere's space.
    told_scale : bool
        Whether the head sees log2 of the crop's pixels per um.
    mean, std : array (n_features,), optional
        Of the training features, which are standardised by them.
    """

    # Periods in octaves of scale: the longest orders the whole range of 200x, the shortest tells factors of two.
    SCALE_PERIODS = (32.0, 16.0, 8.0, 4.0)

    def __init__(self, n_features: int, embedding_dim: int = 16, told_scale: bool = True, mean=None, std=None):
        super().__init__()
        self.told_scale = told_scale
        for name, value, default in (("mean", mean, torch.zeros), ("std", std, torch.ones)):
            self.register_buffer(name, default(n_features) if value is None else torch.as_tensor(value).float())
        n_scale = 2 * len(self.SCALE_PERIODS) if told_scale else 0
        # Linear: a hidden layer learned rare classes by heart and told fewer of their unseen specimens.
        self.layers = nn.Sequential(HalfDropout(), nn.Linear(n_features + n_scale, embedding_dim))

    def forward(self, features, log2_pixels_per_um):
        """Embed features (n, n_features) of crops of log2 scale (n,): Tensor (n, embedding_dim), rows of length 1."""
        x = (features - self.mean) / self.std
        if self.told_scale:
            periods = x.new_tensor(self.SCALE_PERIODS)
            angle = 2 * torch.pi * log2_pixels_per_um[:, None].to(x) / periods
            x = torch.cat([x, angle.sin(), angle.cos()], dim=1)
        return nn.functional.normalize(self.layers(x), dim=1)

    @torch.inference_mode()
    def points(self, features: CropFeatures) -> np.ndarray:
        """Points (n_crops, embedding_dim) of crops' features."""
        self.eval()
        device = self.mean.device
        parts = [
            self(torch.from_numpy(v).to(device), torch.from_numpy(s).to(device)).cpu().numpy()
            for v, s in zip(
                np.array_split(features.values, len(features.values) // 4096 + 1),
                np.array_split(features.log2_pixels_per_um, len(features.values) // 4096 + 1),
                strict=True,
            )
        ]
        return np.concatenate(parts)


class MetricLoss(nn.Module):
    """The loss by name, and the share of triplets that still teach something.

    ``triplet`` is the paper's: triplets mined semi-hard (Schroff et al., 2015), margin 0.2 on the unit sphere; all
    triplets of a batch are looked at anyway for the share, so it is computed here. The others are
    pytorch-metric-learning's, for comparison.
    """

    def __init__(self, name: str, n_classes: int, embedding_dim: int, margin: float = 0.2):
        super().__init__()
        self.margin, self.loss, self.miner = margin, None, None
        if name == "multi-similarity":
            self.loss = losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5)
            self.miner = miners.MultiSimilarityMiner()
        elif name == "supervised-contrastive":
            self.loss = losses.SupConLoss(temperature=0.1)
        elif name != "triplet":
            self.loss = losses.NormalizedSoftmaxLoss(n_classes, embedding_dim, temperature=0.1)

    def forward(self, embeddings, labels):
        """Loss of a batch, and the share of all its triplets whose negative is not yet ``margin`` farther off."""
        same = labels[:, None] == labels[None, :]
        anchor, positive = (same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)).nonzero(as_tuple=True)
        distance = torch.cdist(embeddings, embeddings)
        # How much farther than its positive each point is from a pair's anchor: (pairs, points).
        gap = distance[anchor] - distance[anchor, positive][:, None]
        negative = ~same[anchor]
        active = negative & (gap < self.margin)
        n = int(negative.sum())
        share = int(active.sum()) / n if n else math.nan
        if self.loss is not None:
            return self.loss(embeddings, labels, self.miner and self.miner(embeddings, labels)), share
        semi_hard = gap[active & (gap > 0)]
        # A batch without one teaches nothing: a loss of 0 that still has a gradient.
        return (self.margin - semi_hard).mean() if len(semi_hard) else 0 * embeddings.sum(), share


def save_whole(obj, path: Path) -> None:
    """`torch.save`, whole or not at all."""
    # Given a name, torch would keep it in the file, which would then differ from process to process.
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        torch.save(obj, file)


def _fit(batches, embed, criterion, parameters, config: TrainingConfig, modules: dict, checkpoint, identity, description):
    """The loop that heads and fine-tuned networks share; the history, one row an epoch.

    ``batches(epoch)`` yields (inputs, labels), ``embed(inputs)`` gives points. All randomness of an epoch comes from
    (seed, epoch), so a run resumed from its checkpoint draws what an unbroken one would.
    """
    steps = max(1, config.crops_per_epoch // config.batch_size)
    optimiser = torch.optim.AdamW(parameters, weight_decay=config.weight_decay)
    rates = [group["lr"] for group in parameters]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=config.epochs * steps, pct_start=0.2)
    state, rows, first = {**modules, "optimiser": optimiser, "schedule": schedule}, [], 0
    if checkpoint is not None and checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=criterion_device(modules), weights_only=True)
        if saved["identity"] == identity:
            for name, module in state.items():
                module.load_state_dict(saved[name])
            rows, first = saved["rows"], saved["epoch"]
    epochs = range(first, config.epochs)
    for epoch in track(epochs, len(epochs), description, "epoch") if checkpoint is not None else epochs:
        started = time.perf_counter()
        torch.manual_seed(config.seed * 100_003 + epoch)
        losses_, active, spread = [], [], []
        for inputs, labels in batches(epoch, steps):
            points = embed(inputs)
            loss, share = criterion(points.float(), labels)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss became {loss.item()} in epoch {epoch + 1}; lower learning_rate")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses_.append(loss.item())
            active.append(share)
            spread.append(points.detach().float().std(dim=0).mean().item())
        rows.append(
            {
                "epoch": epoch + 1,
                "loss": float(np.mean(losses_)),
                "active_triplets": float(np.nanmean(active)),
                "spread": float(np.mean(spread)),
                "seconds": time.perf_counter() - started,
            }
        )
        if checkpoint is not None:
            parts = {name: module.state_dict() for name, module in state.items()}
            save_whole({"identity": identity, "epoch": epoch + 1, "rows": rows, **parts}, checkpoint)
    for module in modules.values():
        module.eval()
    return pd.DataFrame(rows)


def criterion_device(modules: dict):
    """Where the first module's parameters lie."""
    return next(p.device for module in modules.values() for p in module.parameters())


def fit_head(features: CropFeatures, labels, groups, train_index, config: TrainingConfig):
    """Train a head on kept features: seconds.

    Parameters
    ----------
    features : CropFeatures
        Of the crops of all images, augmented ones among them.
    labels, groups : array (n_images,)
        Class number and specimen of each image.
    train_index : array of int
        Images to train on.
    config : TrainingConfig

    Returns
    -------
    EmbeddingHead
    DataFrame
        One row an epoch: epoch, loss, active_triplets, spread, seconds.

    Raises
    ------
    FloatingPointError
        When the loss is no longer a number.
    """
    labels, groups, train_index = np.asarray(labels), np.asarray(groups), np.asarray(train_index)
    device = resolve_device(config.device)
    ours = features.of(train_index)
    torch.manual_seed(config.seed)
    head = EmbeddingHead(
        ours.values.shape[1], config.embedding_dim, config.told_scale, ours.values.mean(0), ours.values.std(0) + 1e-3
    ).to(device)
    criterion = MetricLoss(config.loss, labels.max() + 1, config.embedding_dim).to(device)
    crops_of = {i: np.flatnonzero(ours.image_index == i) for i in train_index}
    values, scales = torch.from_numpy(ours.values).to(device), torch.from_numpy(ours.log2_pixels_per_um).to(device)

    def batches(epoch, steps):
        head.train()
        rng = np.random.default_rng([config.seed, epoch])
        drawn = train_index[draw_images(labels[train_index], groups[train_index], steps * config.batch_size, rng)]
        crops = np.array([crops_of[i][rng.integers(len(crops_of[i]))] for i in drawn])
        for batch in np.split(np.arange(len(crops)), steps):
            pick = torch.from_numpy(crops[batch]).to(device)
            yield (values[pick], scales[pick]), torch.from_numpy(labels[drawn[batch]]).to(device)

    parameters = [{"params": [*head.parameters(), *criterion.parameters()], "lr": config.learning_rate}]
    modules = {"head": head, "criterion": criterion}
    with one_thread():
        history = _fit(batches, lambda x: head(*x), criterion, parameters, config, modules, None, "", "")
    return head, history


def fit_network(rows, labels, train_index, config: TrainingConfig, checkpoint: Path | None, description: str):
    """Train backbone and head together on crops drawn anew in every epoch (``backbone_rate`` above 0).

    Parameters
    ----------
    rows : DataFrame
        Training rows of a manifest.
    labels : array (n_images,) of int
    train_index : array of int
    config : TrainingConfig
    checkpoint : Path, optional
        Written after every epoch; a run with the same configuration and images goes on from it.
    description : str
        Shown with the progress.

    Returns
    -------
    backbone : Module
    DataFrame
        As `fit_head`.
    """
    labels, groups, train_index = np.asarray(labels), rows["split_group"].to_numpy(), np.asarray(train_index)
    device = resolve_device(config.device)
    torch.manual_seed(config.seed)
    backbone = build_backbone(config.backbone, config.weights).to(device, memory_format=torch.channels_last)
    # Features of a backbone that learns cannot be standardised beforehand; their own batch does it.
    norm = nn.BatchNorm1d(backbone.n_features, affine=False).to(device)
    head = EmbeddingHead(backbone.n_features, config.embedding_dim, config.told_scale).to(device)
    criterion = MetricLoss(config.loss, labels.max() + 1, config.embedding_dim).to(device)

    def batches(epoch, steps):
        for module in (backbone, norm, head):
            module.train()
        rng = np.random.default_rng([config.seed, epoch])
        drawn = train_index[draw_images(labels[train_index], groups[train_index], steps * config.batch_size, rng)]
        crops = TrainingCrops(rows["path"], rows["pixels_per_um"], drawn, config, epoch)
        for crop, scale, image in loader(crops, config.workers, batch_size=config.batch_size):
            yield (crop.to(device), scale.to(device)), torch.from_numpy(labels[image.numpy()]).to(device)

    def embed(inputs):
        crop, scale = inputs
        with autocast(device):
            features = backbone(standardise(crop).contiguous(memory_format=torch.channels_last))
        return head(norm(features.float()), scale)

    parameters = [
        {"params": list(backbone.parameters()), "lr": config.learning_rate * config.backbone_rate},
        {"params": [*head.parameters(), *criterion.parameters()], "lr": config.learning_rate},
    ]
    modules = {"backbone": backbone, "norm": norm, "head": head, "criterion": criterion}
    identity = json.dumps([config.identity(), rows["sha256"].iloc[train_index].tolist()], default=str)
    history = _fit(batches, embed, criterion, parameters, config, modules, checkpoint, identity, description)
    return backbone, history
