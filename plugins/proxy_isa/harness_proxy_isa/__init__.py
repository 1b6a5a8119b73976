"""Proxy-ISA, informative sample-aware proxies for deep metric learning."""
