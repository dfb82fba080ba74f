"""The operator's side: the `backbeat` command and the local cloud."""
