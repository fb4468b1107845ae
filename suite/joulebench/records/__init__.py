"""TODO records"""
