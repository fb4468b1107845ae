"""TODO studies/pue"""
