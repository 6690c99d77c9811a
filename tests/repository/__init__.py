"""The habits of this repository: its commits, and prose that says what is in it."""
