"""Write a template of a manifest for a folder of images: ``python -m micrographs FOLDER``; one subfolder a class."""

import sys

from micrographs import write_template

try:
    print(*write_template(sys.argv[1]), sep="\n")
except (IndexError, ValueError) as error:
    sys.exit(__doc__ if isinstance(error, IndexError) else str(error))
