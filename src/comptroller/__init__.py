"""Comptroller: an identity-bound spend gateway for AI."""

__version__ = "0.1.0"
