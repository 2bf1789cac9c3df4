"""How much of a file is read before it is refused."""

MAX_TEXT = 64 * 2**20
"""Bytes of JSON, in a file of its own or inside a picture."""
