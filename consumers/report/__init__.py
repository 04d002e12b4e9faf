"""The report: one HTML page from the warehouse, complete in itself.

`model` says what a page is made of. `sales`, `combos`, `products` and `quality` work it out from a
snapshot, `charts` and `heat_map` draw it, `rendering` writes it: the one module that knows the
libraries of the extra.
"""
