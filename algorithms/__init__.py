"""Parties, channels, protocols and models."""
