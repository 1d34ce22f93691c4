"""Runs a study: its parameters, the runner, the report."""
