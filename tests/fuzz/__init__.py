"""Fuzz of the data plane's doors."""
