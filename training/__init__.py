"""The model in PyTorch, the scenes it learns from, and the training of the demo checkpoint."""
