"""RDML, the criteria, miners and samplers of Revisiting Training Strategies."""
