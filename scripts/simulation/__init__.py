"""A deterministic simulation of the whole mesh. To be written."""
