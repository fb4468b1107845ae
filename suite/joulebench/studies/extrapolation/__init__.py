"""TODO studies/extrapolation"""
