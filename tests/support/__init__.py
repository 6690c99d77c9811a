"""Common tools of the tests: tokens, participants, and servers that a test scripts."""
