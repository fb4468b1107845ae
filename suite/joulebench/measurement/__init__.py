"""TODO measurement"""
