"""TODO studies/scaling"""
