"""The example's project."""
