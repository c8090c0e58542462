"""Nothing goes upstream before its hold is on disk, and no way of stopping the gateway loses the books."""
