"""A client that is slow or goes away: the meter goes on reading what the provider generates."""
