"""Vertical logistic regression."""
