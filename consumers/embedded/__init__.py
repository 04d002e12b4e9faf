"""The whole of Tillstream's surroundings from Python wheels: no Docker, no JVM, no account.

For a laptop, the demo and the tests. Data lives as long as the stack and durability is switched
off; nothing here belongs in production.
"""

from consumers.embedded.servers import EmbeddedStackError
from consumers.embedded.stack import EmbeddedStack, Endpoints

__all__ = ["EmbeddedStack", "EmbeddedStackError", "Endpoints"]
