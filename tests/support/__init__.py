"""Helpers of the tests: base images, registries, accounts, and independent readers of images."""
