"""What Django looks for under this name."""
