"""TODO studies/training_inference"""
