"""Parts that two or more plugins share; each has its own module.

labels      checks on what an objective is given
randomness  one generator for everything a component draws when it is built
"""
