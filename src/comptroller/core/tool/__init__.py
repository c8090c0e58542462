"""Tools: what they are called with, what they say of themselves, and what bounds them."""
