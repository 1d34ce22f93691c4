"""Thin helper library of the microrace study: scale, augmentation, embedding, comparison."""

__version__ = "0.3.0"
