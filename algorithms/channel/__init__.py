"""Channels between two parties."""
