"""Seeded server bugs: each must turn the contract suite red, or the suite is blind to it."""
