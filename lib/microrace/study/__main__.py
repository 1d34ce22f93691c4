"""The command line of a study: ``python -m microrace.study run|predict|verify|publish``."""

import sys

from microrace.study.runner import main

sys.exit(main())
