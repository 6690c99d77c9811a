"""What the tests share: tokens, virtual time for asyncio, and a server played by a test."""
