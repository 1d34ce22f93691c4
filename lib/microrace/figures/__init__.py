"""Every figure of the study, by the notebook that draws it; the style that they share is in `style`."""

from microrace.figures.comparison import agreement as agreement
from microrace.figures.comparison import calibration as calibration
from microrace.figures.comparison import confusion_matrices as confusion_matrices
from microrace.figures.comparison import experience as experience
from microrace.figures.comparison import hardest_images as hardest_images
from microrace.figures.comparison import human_versus_machine as human_versus_machine
from microrace.figures.comparison import person_item_map as person_item_map
from microrace.figures.comparison import power as power
from microrace.figures.comparison import verdicts as verdicts
from microrace.figures.images import augmentation_explained as augmentation_explained
from microrace.figures.images import examples as examples
from microrace.figures.images import scales as scales
from microrace.figures.machine import ablations as ablations
from microrace.figures.machine import embedding as embedding
from microrace.figures.machine import explanations as explanations
from microrace.figures.machine import training_curve as training_curve
from microrace.figures.style import COLOURS as COLOURS
from microrace.figures.style import ONE_COLUMN_IN as ONE_COLUMN_IN
from microrace.figures.style import TWO_COLUMNS_IN as TWO_COLUMNS_IN
from microrace.figures.style import length_label as length_label
from microrace.figures.style import save as save
from microrace.figures.style import scale_bar as scale_bar
from microrace.figures.style import scale_bar_um as scale_bar_um
from microrace.figures.style import show_micrograph as show_micrograph
from microrace.figures.style import stamp as stamp
from microrace.figures.style import use_style as use_style
