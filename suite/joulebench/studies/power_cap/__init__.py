"""TODO studies/power_cap"""
