"""TODO runner"""
