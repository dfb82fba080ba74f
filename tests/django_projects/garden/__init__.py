"""A project of another make than the example."""
