"""Statistics of readers and machine on the same images: from tables of answers to sentences.

`answers` says who is who and what was right; `inference` has the intervals and tests; `accuracy`, `agreement` and
`psychometrics` ask one question each; `protocol` and `claims` turn their numbers into what may be said; `power` measures
how far all of it can be trusted.
"""

from microrace.comparison.accuracy import class_table as class_table
from microrace.comparison.accuracy import mcnemar_table as mcnemar_table
from microrace.comparison.accuracy import missing_table as missing_table
from microrace.comparison.accuracy import readers_table as readers_table
from microrace.comparison.accuracy import score_with_intervals as score_with_intervals
from microrace.comparison.accuracy import subgroup_table as subgroup_table
from microrace.comparison.agreement import agreement_table as agreement_table
from microrace.comparison.agreement import error_consistency as error_consistency
from microrace.comparison.agreement import fleiss_kappa as fleiss_kappa
from microrace.comparison.agreement import mean_kappas as mean_kappas
from microrace.comparison.answers import MEAN as MEAN
from microrace.comparison.answers import VOTE as VOTE
from microrace.comparison.answers import combine as combine
from microrace.comparison.answers import confusion_table as confusion_table
from microrace.comparison.answers import correct_table as correct_table
from microrace.comparison.answers import items_table as items_table
from microrace.comparison.answers import majority_vote as majority_vote
from microrace.comparison.answers import mrmc_table as mrmc_table
from microrace.comparison.claims import claim_sentences as claim_sentences
from microrace.comparison.claims import headline as headline
from microrace.comparison.claims import verdict as verdict
from microrace.comparison.inference import difference_interval as difference_interval
from microrace.comparison.protocol import ProtocolError as ProtocolError
from microrace.comparison.protocol import read_protocol as read_protocol
from microrace.comparison.psychometrics import calibration_summary as calibration_summary
from microrace.comparison.psychometrics import calibration_table as calibration_table
from microrace.comparison.psychometrics import experience_correlations as experience_correlations
from microrace.comparison.psychometrics import experience_table as experience_table
from microrace.comparison.psychometrics import rasch as rasch
