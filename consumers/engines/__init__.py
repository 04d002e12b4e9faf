"""Engines: what owns the loop, the lease and the checkpoint of a handler.

They never know each other.
"""
