"""TODO presentation"""
