"""The doctor: looks at a gateway's settings, store, machine and providers, and says what to do. It changes nothing."""
