"""What is written for a developer: a new task, and events to invoke a function with."""
