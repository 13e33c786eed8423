"""The actor runtime: what an actor is, how it is reached, and the run queue that gives it its turns. Guide: docs/guides/actors.md."""
