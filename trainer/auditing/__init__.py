"""Audits find labels that are wrong or odd, before a model learns them."""
