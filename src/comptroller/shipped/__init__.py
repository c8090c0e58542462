"""The price book that comes with the gateway: genai-prices' own table, read and never updated over the network."""

from comptroller.shipped.book import ShippedBook

__all__ = ["ShippedBook"]
