"""TODO studies/prediction"""
