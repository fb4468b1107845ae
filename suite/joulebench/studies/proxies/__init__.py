"""TODO studies/proxies"""
