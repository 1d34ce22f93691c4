"""``python -m microrace.figures`` draws figures/verdicts from its table, which ``python -m readerstudy verdicts`` makes."""

import pandas as pd

from microrace import figures, paths
from microrace.figures.verdicts import verdicts

figures.save(verdicts(pd.read_csv(paths.FIGURES / "verdicts.csv")), paths.FIGURES, "verdicts")
