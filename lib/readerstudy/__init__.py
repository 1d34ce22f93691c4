"""Statistics of readers and machine on the same images: from tables of answers to sentences.

`answers` says who is who and what was right; `inference` has the intervals and tests; `accuracy`, `agreement` and
`psychometrics` ask one question each; `protocol` and `claims` turn their numbers into what may be said; `power` measures
how far all of it can be trusted.
"""

from readerstudy.accuracy import class_table as class_table
from readerstudy.accuracy import mcnemar_table as mcnemar_table
from readerstudy.accuracy import missing_table as missing_table
from readerstudy.accuracy import readers_table as readers_table
from readerstudy.accuracy import score_with_intervals as score_with_intervals
from readerstudy.accuracy import subgroup_table as subgroup_table
from readerstudy.agreement import agreement_table as agreement_table
from readerstudy.agreement import error_consistency as error_consistency
from readerstudy.agreement import fleiss_kappa as fleiss_kappa
from readerstudy.agreement import mean_kappas as mean_kappas
from readerstudy.answers import MEAN as MEAN
from readerstudy.answers import VOTE as VOTE
from readerstudy.answers import combine as combine
from readerstudy.answers import confusion_table as confusion_table
from readerstudy.answers import correct_table as correct_table
from readerstudy.answers import items_table as items_table
from readerstudy.answers import majority_vote as majority_vote
from readerstudy.answers import mrmc_table as mrmc_table
from readerstudy.claims import claim_sentences as claim_sentences
from readerstudy.claims import headline as headline
from readerstudy.claims import verdict as verdict
from readerstudy.inference import difference_interval as difference_interval
from readerstudy.protocol import ProtocolError as ProtocolError
from readerstudy.protocol import read_protocol as read_protocol
from readerstudy.psychometrics import calibration_summary as calibration_summary
from readerstudy.psychometrics import calibration_table as calibration_table
from readerstudy.psychometrics import experience_correlations as experience_correlations
from readerstudy.psychometrics import experience_table as experience_table
from readerstudy.psychometrics import rasch as rasch
