"""The imperative shell: the numbered steps, retries with back-off, the read-through reader.

Knows ports only.
"""
