"""Comparison of the public names and parameters with those of LiveKit's Python SDK."""
