"""Write a template of a manifest for a folder of images: ``python -m micrographs FOLDER``; one subfolder a class."""

import sys

from micrographs import ManifestError, write_template

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        path, remarks = write_template(sys.argv[1])
    except ManifestError as error:
        sys.exit(str(error))
    print("\n".join([*remarks, f"{path}: complete split and specimen, then: make DATASET={path} STUDY=name"]))
