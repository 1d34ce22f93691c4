"""Runs a study: its parameters, the runner, the report, and what is published of it."""
