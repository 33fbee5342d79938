"""The command line clients: the caller's rights, no state of their own, only the control socket."""
