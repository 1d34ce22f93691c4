"""Runs a study: parameters, fingerprints, the runner, its report, and what is published of it."""

from microrace.study.environment import lock_mismatches
from microrace.study.fingerprints import library_files
from microrace.study.parameters import StudyError
from microrace.study.published import SHOW_MICROGRAPHS, publish
from microrace.study.report import render_report
from microrace.study.runner import CHAIN, run
from microrace.study.verification import differences, verify

__all__ = [
    "CHAIN",
    "SHOW_MICROGRAPHS",
    "StudyError",
    "differences",
    "library_files",
    "lock_mismatches",
    "publish",
    "render_report",
    "run",
    "verify",
]
