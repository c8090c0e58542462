"""A person stops a session or an identity: its open streams end at once and its next call is refused."""
