"""Encoder, batches, optimizers and the training loop."""
