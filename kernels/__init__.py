"""Batches of big integers modulo a fixed odd modulus; knows no encryption."""
