"""Every figure of the study, by the notebook that draws it; the style that they share, and `save`, are in `style`."""
# ruff: noqa: F401, I001
# fmt: off

from microrace.figures.comparison import agreement, confusion_matrices, difference, hardest_images
from microrace.figures.comparison import human_versus_machine, power, verdicts
from microrace.figures.images import augmentation_explained, examples, scales
from microrace.figures.machine import differences, embedding, explanations, learning_curve, tests, training_curve
from microrace.figures.opinion import false_alarms, reliability, risk_coverage, teams
from microrace.figures.style import COLOURS, ONE_COLUMN_IN, TWO_COLUMNS_IN, cells, described, interval, length_label, save
from microrace.figures.style import scale_bar, scale_bar_um, show_micrograph, simulated_parts, stamp, use_style
