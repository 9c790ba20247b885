"""Runs agents: one queue of runs for each session."""
