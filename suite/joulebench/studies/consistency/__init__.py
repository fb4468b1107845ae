"""TODO studies/consistency"""
