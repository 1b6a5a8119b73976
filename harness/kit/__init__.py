"""Parts that two or more plugins share; each has its own module.

batches          rows by class, and refusals of batches that cannot be filled
hyperbolic       the Poincaré ball: maps, distances, gradients
initial_weights  published weights or a user's own into a backbone
labels           checks on what an objective is given
pairs            who shares a class with whom; reductions over sets that may be empty
proxies          learnable points that stand for classes
randomness       one generator for everything a component draws when it is built
"""
