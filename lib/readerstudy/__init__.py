"""Forced-choice reader studies: people and a machine answer the same images, and what can be said of it.

`sheets` reads answer sheets and checks them; `answers` says who is who and what was right; `intervals` has the intervals
and tests of shares and of differences; `accuracy` and `agreement` make tables with them; `teams` puts machine and people
together; `protocol` and `claims` turn numbers into what may be said; `power` tells before a panel is asked what a quiz can
show (``python -m readerstudy power``), and how often its verdicts are false; `simulated` plays a panel where there is
none; `quiz` makes the page on which people answer. It stands on numpy, pandas, scipy and statsmodels, and knows nothing of
any study: README.md beside this file has an example.
"""
# ruff: noqa: F401, I001

from readerstudy.accuracy import counts_table, mcnemar_table, missing_table, readers_table
from readerstudy.agreement import agreement_table, error_consistency, fleiss_kappa, mean_kappas
from readerstudy.answers import MEAN, VOTE, combine, confusion_table, correct_table
from readerstudy.answers import items_table, majority_vote
from readerstudy.claims import claim_sentences, headline, size_sentences, verdict
from readerstudy.intervals import crossed_interval, difference_interval, mean_interval
from readerstudy.intervals import score_with_intervals, share_interval, sign_flip_test
from readerstudy.power import power_table, verdict_table
from readerstudy.protocol import Protocol, ProtocolError, read_protocol
from readerstudy.sheets import COLUMNS, NO_ANSWER, NONE_OF_THESE, OPTIONAL, SheetError
from readerstudy.sheets import opaque_image_id, read_machine_sheet, read_sheets
from readerstudy.simulated import simulate
from readerstudy.teams import team_sentences, teams_table
