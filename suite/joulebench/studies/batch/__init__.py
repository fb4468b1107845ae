"""TODO studies/batch"""
