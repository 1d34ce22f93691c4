"""Micrographs with a physical scale: files, instruments' tags, the manifest, splits without leakage, near copies.

`read_manifest` reads and checks a table of images, and everything else of a study starts from what it returns;
`read_images` does the same for images to be answered. `read_image` gives grey values and `read_scale` pixels per um,
each from one file. `group_folds` splits without leakage. `micrographs.uhcsdb` fetches one public archive, and
``python -m micrographs FOLDER`` writes a template of a manifest. It stands on numpy, pandas, OpenCV, Pillow, tifffile
and scikit-learn, reads tables by `spreadsheets`, and knows nothing of networks or people.
"""

# ruff: noqa: F401, I001 - one line of exports after the other
from micrographs.manifest import NONE_OF_THESE, SIMULATED, ManifestError, attribution, classes, files_of, image_files
from micrographs.manifest import quiz_id, read_images, read_manifest, truth, write_manifest, write_template
from micrographs.reading import PictureError, read_image
from micrographs.splits import group_folds
from micrographs.tags import ScaleError, check_plausible, read_scale
