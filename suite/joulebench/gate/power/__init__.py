"""TODO gate/power"""
