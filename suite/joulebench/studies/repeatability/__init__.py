"""TODO studies/repeatability"""
