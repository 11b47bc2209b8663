"""Mistakes: what a wrong gradient says about its cause."""
