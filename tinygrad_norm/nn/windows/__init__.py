"""Sliding windows over an input."""
