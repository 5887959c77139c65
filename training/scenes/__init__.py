"""An endless, deterministic generator of pictures, and of questions about them with their answers."""
