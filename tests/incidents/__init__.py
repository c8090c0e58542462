"""Shapes of public incidents on a real gateway and the sandbox, with limits and without, beside normal work."""
