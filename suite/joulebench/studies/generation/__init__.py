"""TODO studies/generation"""
