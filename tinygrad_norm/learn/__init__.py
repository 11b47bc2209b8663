"""Learning tools: pictures of computations, and the README's table of systems."""
