"""The gateway in front of a real local language model: our books against the model server's own counters."""
