"""Parts that two or more plugins share; each has its own module.

batches          rows by class, and refusals of batches that cannot be filled
heads            heads that a loss brings along
hyperbolic       the Poincaré ball: maps, distances, gradients
initial_weights  published weights or a user's own into a backbone
labels           checks on what an objective is given
pairs            who shares a class with whom; reductions over sets that may be empty
partners         cross-entropy between the places of images in their classes
precision        single precision inside autocast
proxies          learnable points that stand for classes
randomness       one generator for everything a component draws when it is built
"""
