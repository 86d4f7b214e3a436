"""Shipping: carriers and parcels."""
