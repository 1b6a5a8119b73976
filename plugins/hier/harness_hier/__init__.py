"""HIER, hierarchical regularisation in the Poincaré ball."""
