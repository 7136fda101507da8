"""Worlds: games whose rules are known, as text to learn from and as truth to test against."""
