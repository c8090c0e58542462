"""What no honest client sends: a clear error, nothing charged, nothing sent upstream, nothing secret left behind."""
