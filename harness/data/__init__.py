"""From a data set's table to batches of tensors.

The way of an image, each call taking what the one before returned:

    splits.assign            table, rule           -> Split: which rows train, validate, test
    images.PreparedImages    row                   -> bytes (H, W[, 3]): decoded, prefix applied
    cache.PixelCache         row                   -> the same bytes, kept in mapped files
    transforms.Pipeline      bytes, random stream  -> planes (C, S, S): through the random suffix
    reading.BatchReader      Request               -> ByteBatch, in this process or in a worker
    normalization            ByteBatch             -> ImageBatch: floats, where the network is
    loading.make_loaders     all of the above      -> Loaders, what a run reads from

Boxes are scaled by `resampling` (one image, compiled) or `batch_scaling` (a batch, on its device).
"""
