"""TODO host"""
