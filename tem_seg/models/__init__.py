"""Model adapters that keep the contract in contract.py."""
