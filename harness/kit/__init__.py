"""Parts that two or more plugins share; each has its own module.

initial_weights  published weights or a user's own into a backbone
labels           checks on what an objective is given
randomness       one generator for everything a component draws when it is built
"""
