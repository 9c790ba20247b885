"""Test doubles of agents, servers and models that agents call, and what tests need to start and read them."""
