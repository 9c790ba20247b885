"""Agents of others, run as real processes, and turns to send them."""
