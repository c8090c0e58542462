"""The commands as an operator uses them, on a real gateway and on a store that nobody holds."""
