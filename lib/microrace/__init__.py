"""Thin helper library of the microrace study: scale, augmentation, embedding, comparison."""

import os
import sys

__version__ = "0.3.0"

# `python -m` puts the working folder first among the places of modules: an h2.py or random.py that lies there beside
# somebody's images would be run in place of the library of that name. (Python says "-m" while it looks for a module.)
if sys.argv[:1] == ["-m"] and not (sys.flags.safe_path or os.path.samefile(sys.path[0], f"{__path__[0]}/..")):
    del sys.path[0]
