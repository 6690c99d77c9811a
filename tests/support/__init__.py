"""What the tests share: tokens, and a server played by a test."""
