"""One file per outside system, and the only place of SDKs.

`memory` implements every port and is shipped.
"""
