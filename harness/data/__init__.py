"""From a data set's table to batches of tensors: splits, transforms, loading."""
