"""The SDKs' own API tests, direct against a mock server and through the gateway: the same tests pass."""
