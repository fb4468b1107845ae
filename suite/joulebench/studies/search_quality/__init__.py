"""TODO studies/search_quality"""
