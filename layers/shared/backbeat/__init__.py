"""Backbeat: the background work of a social network, as serverless functions."""
