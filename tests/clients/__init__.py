"""The agents that people run, through the gateway: every recipe of docs/clients.md, run as it stands there."""
