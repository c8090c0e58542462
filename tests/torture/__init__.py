"""The torture run: many clients, random faults, kills; then our books against the sandbox's bill."""
