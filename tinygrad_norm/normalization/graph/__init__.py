"""Normalizations whose statistics belong to one graph of a batch.

Each row of x (N, D) is a node, and an integer for each node says to which graph it belongs.
"""
