"""Typed calls."""
