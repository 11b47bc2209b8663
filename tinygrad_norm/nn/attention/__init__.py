"""Attention, its masks, and position vectors."""
