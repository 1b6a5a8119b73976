"""Direction regularisation of triplet, proxy and multi-similarity losses."""
