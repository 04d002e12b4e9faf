"""What runs: the three handlers, the engines that drive them, and the command line."""
