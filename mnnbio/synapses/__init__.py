"""Synapse models: what a spike does."""
