"""The report: one HTML page from the warehouse, complete in itself.

`model` says what a page is made of, `sales`, `combos`, `products` and `quality` work it out from a
snapshot, `charts` draws it, `rendering` writes it. Only `rendering` knows the extra's libraries.
"""
