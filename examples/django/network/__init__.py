"""The example: a small social network, whose background work Backbeat does."""
